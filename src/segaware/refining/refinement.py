"""The refinement of one image, piece by piece."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from segaware.nn import BilateralFilter2d, DenseCRF, Embedding, certainty_gate, upsample
from segaware.nn.resampling import sampled_size
from segaware.ops import attention_mask
from segaware.process_memory import machine_memory, release_memory
from segaware.refining.grid import Grid, find_grid
from segaware.refining.kinds import Given, Kind, Open, contenders, most_probable, says_something, to_means
from segaware.refining.layers import RefiningLayer, reach, takes_median
from segaware.refining.memory import RESERVE, STRIP, blend_cost, edges_cost, embedding_cost, layer_cost, memory_left
from segaware.refining.modules import device_of
from segaware.refining.strength import Strength
from segaware.refining.tiles import Extent, Span, Tile, split

Step: TypeAlias = Literal["embed", "refine"]

_log = logging.getLogger("segaware")


@dataclass(frozen=True)
class Arrays:
    """Where a refinement reads and writes. What may be memory-mapped is opened anew for every piece.

    A mapped file counts as memory of the process as far as it has been read, until it is closed.

    Attributes:
        image: RGB, uint8 or floats in 0..1, (H, W, 3).
        scores: What is refined, (C, h, w), or (h, w) of labels.
        embedding: Array of `embedding_shape`, float32, which the first pieces write and the others read.
        output: Array of `output_shape`, which is written.
        mask: Array of `mask_shape`, float32, which is written if it is there.
    """

    image: np.ndarray
    scores: Open
    embedding: Open
    output: Open
    mask: np.ndarray | None = None


class Refinement:
    """How one image is refined: `pieces` pieces of work, to be done in order, one after the other.

    The first pieces embed a tile of the image each, where the embedding is not given; the others refine one each. A
    tile is read with all that it depends on, so that the result does not depend on tiles but for rounding.

    Args:
        size: Height and width of the image.
        given: What is refined.
        grid: Where it lies in the image.
        layer: What refines.
        embedding: The network that embeds pixels, or their embeddings (E, H, W).
        stride: The stride to the image at which the layer works; that of a dense CRF is 1.
        edges: A filter over the colours of the image, at its size, after the layer; None for none.
        classify: Whether the output is the class of the highest score.
        strength: How much of what the layer makes is taken.
        count: Tells how many classes can be the output anywhere, if memory is limited; None if all.
        device: Where to compute with what has no tensors of its own.

    Attributes:
        work: What every piece does, and with which tile; empty before `plan` was called.
        output_shape: (C, H, W), or (H, W) of labels.
        embedding_shape: Of the embedding that is computed, (E, h, w), at the stride of the layer; (0, h, w) for none.
        mask_shape: (K, h, w), likewise.
    """

    def __init__(
        self,
        size: tuple[int, int],
        given: Given,
        grid: Grid,
        layer: RefiningLayer,
        embedding: Embedding | np.ndarray,
        stride: int,
        edges: BilateralFilter2d | None = None,
        classify: bool = False,
        strength: Strength = 1,
        count: Callable[[], int] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.size = size
        self.given = given
        self.grid = grid
        self.layer = layer
        self.embedding = embedding
        self.stride = 1 if isinstance(layer, DenseCRF) else stride
        self.edges = edges
        self.margin = 0 if edges is None else reach(edges)
        self.classify = classify
        self.strength: Strength = strength
        self._count = count
        self._contending = 0
        self.device = device_of(layer, device or torch.device("cpu"))
        pixels = sampled_size(size, self.stride)
        self.embedding_shape = (0 if isinstance(embedding, np.ndarray) else embedding.dim, *pixels)
        self.output_shape = size if given.kind == "labels" or classify else (given.channels, *size)
        self.mask_shape = (0 if isinstance(layer, DenseCRF) else math.prod(layer.kernel_size), *pixels)
        self.work: list[tuple[Step, Tile]] = []

    @property
    def pieces(self) -> int:
        """The number of pieces."""
        return len(self.work)

    def plan(self, max_memory: int | None = None, held: int = 0) -> None:
        """Divide the image.

        Args:
            max_memory: Bytes that the process may take; None for one tile, of up to all the memory of the machine.
            held: Bytes that it will take beside its tiles, and has not yet: of output and embedding in memory.

        Raises:
            MemoryError: If that is too little; the message says what is needed.
        """
        limit = None
        if max_memory is not None:
            self._warm_up()
            self._contending = self._count() if self._count is not None else 0
            limit = memory_left(max_memory, held)
        try:
            tiles = self._split_embedding(limit), self._split(limit)
        except MemoryError as error:
            assert limit is not None and max_memory is not None
            needed = max_memory + (error.args[0] - limit) / (1 - RESERVE)
            raise MemoryError(
                f"max_memory is too small: {self._needs(needed)}, got {max_memory / 1e9:.2g} GB"
            ) from None
        if limit is None and self.device.type == "cpu" and not isinstance(self.layer, DenseCRF):
            needed = self._cost(Extent(self.size, self.size))
            if needed > machine_memory():
                raise MemoryError(
                    f"{self._needs(needed)}, more than this machine has: give max_memory, or the layer a smaller window"
                )
        self.work = [("embed", tile) for tile in tiles[0]] + [("refine", tile) for tile in tiles[1]]
        _log.info("%d x %d pixels: %d tiles to embed, %d to refine", *self.size, *map(len, tiles))

    def _needs(self, memory: float) -> str:
        whole = " as it looks at the whole image at once" if isinstance(self.layer, DenseCRF) else ""
        return (
            f"{type(self.layer).__name__} needs about {memory / 1e9:.2g} GB for an image of "
            f"{self.size[1]}x{self.size[0]}{whole}"
        )

    def resume(self, work: list[tuple[Step, list[list[int]]]]) -> None:
        """Take over the `work` of an earlier plan for the same image, as JSON gives it back."""
        self.work = [(step, Tile(*(Span(*span) for span in tile))) for step, tile in work]

    def _split_embedding(self, limit: float | None) -> list[Tile]:
        network = self.embedding
        if isinstance(network, np.ndarray):
            return []
        step = math.lcm(network.max_stride, self.stride)
        return split(
            self.size, network.receptive_radius, step, lambda x: embedding_cost(network, self.stride, x), limit
        )

    def _split(self, limit: float | None) -> list[Tile]:
        layer = self.layer
        if isinstance(layer, DenseCRF):
            return split(self.size, 0, max(self.size), self._cost, limit)
        halo = (reach(layer) + 1) * self.stride + self.margin  # upsampling after the layer reads the next pixel
        return split(self.size, halo, self.stride, self._cost, limit)

    def _cost(self, extent: Extent) -> float:
        given = self.given.channels + (self.given.kind == "values")
        channels = self._contending or given
        dim = len(self.embedding) if isinstance(self.embedding, np.ndarray) else self.embedding_shape[0]
        cost = layer_cost(self.layer, channels, given, dim, self.stride, self.grid.spacing, extent)
        if self.strength != 1:
            cost += blend_cost(channels, self.given.kind == "masks", extent)
        return cost if self.edges is None else cost + edges_cost(self.edges, channels, extent)

    def _warm_up(self) -> None:
        """Refine a small image, so that what is loaded and compiled at first use counts as taken."""
        side = 40
        embedding = self.embedding
        if isinstance(embedding, np.ndarray):
            embedding = np.zeros((len(embedding), side, side), np.float32)
        whole = find_grid((side, side), (side, side))
        kind: Kind = "values" if self.given.kind == "values" else "scores"
        small = Refinement(
            (side, side), Given(kind, self.given.channels, self.given.logits), whole, self.layer, embedding, 1,
            self.edges, device=self.device,
        )  # fmt: skip
        small.plan()
        shapes = (side, side, 3), (self.given.channels, side, side), small.embedding_shape, small.output_shape
        image, scores, embedded, output = (np.zeros(shape, np.float32) for shape in shapes)
        for piece in range(small.pieces):
            small.run(piece, Arrays(image, lambda: scores, lambda: embedded, lambda: output))

    @torch.inference_mode()
    def run(self, number: int, arrays: Arrays) -> None:
        """Do one piece of work. All pieces before it must have been done."""
        step, tile = self.work[number]
        if step == "embed":
            self._embed(tile, arrays)
        else:
            self._refine(tile, arrays)
        if number + 1 < self.pieces:
            release_memory()

    def _embed(self, tile: Tile, arrays: Arrays) -> None:
        assert isinstance(self.embedding, Embedding)
        pixels = arrays.image[tile.rows.padded(), tile.columns.padded()]
        image = to_input(pixels, device_of(self.embedding, self.device))
        self._write(arrays.embedding(), self.embedding(image, self.stride)[0], tile, self.stride)

    def _refine(self, tile: Tile, arrays: Arrays) -> None:
        layer = self.layer
        scores = self._read(arrays.scores(), *self.grid.under(tile))
        if isinstance(layer, DenseCRF):  # what pixels are compared by
            compared = to_input(arrays.image[tile.rows.padded(), tile.columns.padded()], torch.device("cpu"))
        elif isinstance(self.embedding, np.ndarray):
            given = self._read(self.embedding, tile.rows.padded(), tile.columns.padded())
            compared = given[None, :, :: self.stride, :: self.stride]
        else:
            rows, columns = (span.padded(self.stride) for span in tile)
            compared = self._read(arrays.embedding(), rows, columns)[None]
        if arrays.mask is not None:
            assert not isinstance(layer, DenseCRF)
            mask = attention_mask(layer.distance(compared), layer.hardness.clamp(min=0))[0]
            self._write(arrays.mask, mask, tile, self.stride)
        output = self._output(scores, compared, tile, arrays)
        arrays.output()[..., tile.rows.core(), tile.columns.core()] = output.cpu().numpy()

    def _output(self, scores: Tensor, compared: Tensor, tile: Tile, arrays: Arrays) -> Tensor:
        """Return what is written of a tile."""
        given, logits = self.given, self.given.logits
        if not given.channels:
            return scores.new_zeros(0, *(span.stop - span.start for span in tile))
        classes = given.classes(scores)
        if classes is not None and not len(classes):
            return self.grid.nearest(scores, tile)  # no class is known
        channels = given.to_logits(scores) if logits else given.probabilities(scores, classes)
        if self.classify and not logits:
            classes = contenders(channels[0])
            channels = channels[:, classes]
        before, taken = None, None
        if self.strength != 1:
            before, taken = self._before(given.probabilities(scores) if logits else channels, tile)
        known = None
        if before is not None and taken is not None and not taken.any():  # all of it is sure
            refined, logits = before, False
        else:
            refined = self._apply(channels, compared, tile, arrays)
            if given.kind == "labels":
                known = self._known(scores, compared, tile, arrays) if logits else to_means(refined[0])
            if before is not None and taken is not None:
                refined, logits = before.lerp_(refined.log_softmax(1).exp_() if logits else refined, taken), False
        if given.kind == "labels":
            own = self.grid.nearest(scores, tile)
            return given.decode_labels(refined[0], own.new_ones(()).bool() if known is None else known, own, classes)
        if self.classify:
            output = most_probable(refined[0])
            return output if classes is None else classes[output]
        return given.decode(refined, logits)

    def _before(self, probabilities: Tensor, tile: Tile) -> tuple[Tensor, Tensor]:
        """Return probabilities at the pixels that a tile computes, and how much of the filter these take."""
        core = Tile(*(Span(span.start, span.stop, span.start, span.stop) for span in tile))
        rows, columns = (
            _inside(part.start - whole.start, part.stop - part.start)
            for part, whole in zip(self.grid.under(core), self.grid.under(tile), strict=True)
        )
        before = self.grid.interpolated(probabilities[..., rows, columns], core, 1)
        if self.strength != "auto":
            return before, before.new_tensor(self.strength)
        return before, certainty_gate(before, self.given.exclusive)

    def _apply(self, channels: Tensor, compared: Tensor, tile: Tile, arrays: Arrays) -> Tensor:
        """Return refined channels (1, C, H, W) of what the tile computes."""
        channels = self.grid.interpolated(channels, tile, self.stride).contiguous()
        refined = self._filtered(self.layer, channels.to(compared.device), compared).to(self.device)
        wide = Tile(*(span.widened(self.margin, self.stride) for span in tile))
        rows, columns = (  # one more than the tile has, to upsample towards
            _inside((span.start - span.padded_start) // self.stride, (span.stop - span.start) // self.stride + 1)
            for span in wide
        )
        refined = refined[..., rows, columns]
        height, width = (n * self.stride for n in refined.shape[-2:])
        refined = upsample(refined, self.stride, (height, width))
        refined = refined[..., : wide.rows.stop - wide.rows.start, : wide.columns.stop - wide.columns.start]
        if self.edges is None:
            return refined
        image = to_input(arrays.image[wide.rows.core(), wide.columns.core()], self.device)
        rows, columns = (_inside(a.start - b.start, a.stop - a.start) for a, b in zip(tile, wide, strict=True))
        edges = partial(self._filtered, self.edges)
        return in_strips(edges, refined, image, rows, self.margin)[..., columns]

    def _filtered(self, layer: RefiningLayer, channels: Tensor, compared: Tensor) -> Tensor:
        """Apply a layer: a mean to sums of values and their weights, a median to the values themselves."""
        if not takes_median(layer):
            return layer(channels, compared)
        return self.given.probabilities(layer(self.given.decode(channels, False)[None], compared)[0])

    def _known(self, labels: Tensor, compared: Tensor, tile: Tile, arrays: Arrays) -> Tensor:
        """Return which pixels a CRF tells anything of, (H, W).

        Their own logits do not say, for classes may be equal. If all known pixels have the same class, none are.
        """
        known = labels != self.given.ignore_index
        if known.all():
            return known.new_ones(())
        single = torch.where(known, 0, labels)
        return says_something(self._apply(self.given.to_logits(single), compared, tile, arrays)[0])

    def _read(self, array: np.ndarray, rows: slice, columns: slice) -> Tensor:
        """Return a copy of a part of an array, so that it can be closed."""
        part = array[..., rows, columns]
        # torch has hardly any arithmetic for unsigned integers.
        return _copied(part, np.int64 if part.dtype.kind in "iu" else np.float32).to(self.device)

    def _write(self, array: np.ndarray, padded: Tensor, tile: Tile, stride: int) -> None:
        rows, columns = (
            slice(a.start - b.start, a.stop - b.start)
            for a, b in ((span.core(stride), span.padded(stride)) for span in tile)
        )
        array[..., tile.rows.core(stride), tile.columns.core(stride)] = padded[..., rows, columns].cpu().numpy()


def to_input(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Return an image (h, w, 3), uint8 or floats in 0..1, as the input of a network, (1, 3, h, w) in 0..1."""
    scale = 255 if pixels.dtype == np.uint8 else 1
    tensor = _copied(pixels, np.uint8 if scale == 255 else np.float32).to(device)
    return tensor.permute(2, 0, 1)[None].float().contiguous() / scale


def in_strips(
    layer: Callable[[Tensor, Tensor], Tensor], channels: Tensor, image: Tensor, rows: slice, margin: int
) -> Tensor:
    """Return some rows of what a filter makes of channels, in strips: its windows at once take many times the image.

    Args:
        layer: The filter.
        channels: What is filtered, (1, C, h, w).
        image: What it compares, (1, 3, h, w).
        rows: Those that are wanted.
        margin: How many rows beyond one it looks.
    """
    output = channels.new_empty((*channels.shape[:2], rows.stop - rows.start, channels.shape[-1]))
    for start in range(rows.start, rows.stop, STRIP):
        stop = min(start + STRIP, rows.stop)
        first = max(start - margin, 0)
        strip = (..., slice(first, stop + margin), slice(None))
        filtered = layer(channels[strip].contiguous(), image[strip].contiguous())
        output[..., start - rows.start : stop - rows.start, :] = filtered[..., start - first : stop - first, :]
    return output


def _copied(array: np.ndarray, dtype: type[np.generic]) -> Tensor:
    """Return a copy; torch itself knows no negative strides, foreign byte orders, long doubles or read-only arrays."""
    return torch.from_numpy(np.array(array, dtype, order="C"))


def _inside(start: int, length: int) -> slice:
    return slice(start, start + length)
