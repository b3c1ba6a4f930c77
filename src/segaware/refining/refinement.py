"""The refinement of one image, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from segaware.nn import BilateralFilter2d, ColorEmbedding, DenseCRF, EmbeddingNet, upsample
from segaware.nn.resampling import sampled_size
from segaware.ops import attention_mask
from segaware.refining.kinds import Kind, decode, encode
from segaware.refining.layers import Layer, reach
from segaware.refining.memory import RESERVE, embedding_cost, layer_cost, memory_left, release_memory
from segaware.refining.tiles import Extent, Span, Tile, split

Open: TypeAlias = Callable[[], np.ndarray]
Step: TypeAlias = Literal["embed", "refine"]


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
        channels: Channels of what is given; of labels, their number of classes.
        scores_stride: Its stride to the image.
        layer: What refines.
        kind: What is refined.
        certainty: Of labels.
        embedding: The network that embeds pixels, or their embeddings (E, H, W).
        stride: The stride to the image at which the layer works; that of a dense CRF is 1.
        classify: Whether the output is the class of the highest score.
        device: Where to compute.

    Attributes:
        work: What every piece does, and with which tile; empty before `plan` was called.
        output_shape: (C, H, W), or (H, W) of labels.
        embedding_shape: Of the embedding that is computed, (E, h, w), at the stride of the layer; (0, h, w) for none.
        mask_shape: (K, h, w), likewise.
    """

    def __init__(
        self,
        size: tuple[int, int],
        channels: int,
        scores_stride: int,
        layer: Layer,
        kind: Kind,
        certainty: float,
        embedding: EmbeddingNet | ColorEmbedding | np.ndarray,
        stride: int,
        classify: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.size = size
        self.channels = channels
        self.scores_stride = scores_stride
        self.layer = layer
        self.kind: Kind = kind
        self.certainty = certainty
        self.embedding = embedding
        self.stride = 1 if isinstance(layer, DenseCRF) else stride
        self.classify = classify
        self.device = device or torch.device("cpu")
        grid = sampled_size(size, self.stride)
        given = isinstance(embedding, np.ndarray)
        self.embedding_shape = (0 if given else getattr(embedding, "dim", 3), *grid)
        self.output_shape = size if kind == "labels" or classify else (channels, *size)
        self.mask_shape = (0 if isinstance(layer, DenseCRF) else math.prod(layer.kernel_size), *grid)
        self.work: list[tuple[Step, Tile]] = []

    @property
    def pieces(self) -> int:
        """The number of pieces."""
        return len(self.work)

    def plan(self, max_memory: int | None = None, held: int = 0) -> None:
        """Divide the image.

        Args:
            max_memory: Bytes that the process may take; None for one tile.
            held: Bytes that it will take beside its tiles, and has not yet: of output and embedding in memory.

        Raises:
            MemoryError: If that is too little; the message says what is needed.
        """
        limit = None
        if max_memory is not None:
            self._warm_up()
            limit = memory_left(max_memory, held)
        try:
            tiles = self._split_embedding(limit), self._split(limit)
        except MemoryError as error:
            assert limit is not None and max_memory is not None
            needed = max_memory + (error.args[0] - limit) / (1 - RESERVE)
            whole = " as it looks at the whole image at once" if isinstance(self.layer, DenseCRF) else ""
            raise MemoryError(
                f"max_memory is too small: {type(self.layer).__name__} needs about {needed / 1e9:.2g} GB for an image "
                f"of {self.size[1]}x{self.size[0]}{whole}, got {max_memory / 1e9:.2g} GB"
            ) from None
        self.work = [("embed", tile) for tile in tiles[0]] + [("refine", tile) for tile in tiles[1]]

    def resume(self, work: list[tuple[Step, list[list[int]]]]) -> None:
        """Take over the `work` of an earlier plan for the same image, as JSON gives it back."""
        self.work = [(step, Tile(*(Span(*span) for span in tile))) for step, tile in work]

    def _split_embedding(self, limit: float | None) -> list[Tile]:
        network = self.embedding
        if isinstance(network, np.ndarray):
            return []
        halo, step = (network.receptive_radius, network.max_stride) if isinstance(network, EmbeddingNet) else (0, 1)
        return split(self.size, halo, math.lcm(step, self.stride), lambda x: embedding_cost(network, x), limit)

    def _split(self, limit: float | None) -> list[Tile]:
        layer, channels = self.layer, self.channels + (self.kind == "values")
        dim = len(self.embedding) if isinstance(self.embedding, np.ndarray) else self.embedding_shape[0]

        def cost(extent: Extent) -> float:
            return layer_cost(layer, channels, dim, self.stride, self.scores_stride, extent)

        if isinstance(layer, DenseCRF):
            return split(self.size, 0, max(self.size), cost, limit)
        # Upsampling reads the next pixel, before the layer and after it.
        halo = (reach(layer) + 1) * self.stride + self.scores_stride
        return split(self.size, halo, math.lcm(self.stride, self.scores_stride), cost, limit)

    def _warm_up(self) -> None:
        """Refine a small image, so that what is loaded and compiled at first use counts as taken."""
        side = 40
        embedding = self.embedding
        if isinstance(embedding, np.ndarray):
            embedding = np.zeros((len(embedding), side, side), np.float32)
        small = Refinement((side, side), self.channels, 1, self.layer, "scores", 0.5, embedding, 1, device=self.device)
        small.plan()
        shapes = (side, side, 3), (self.channels, side, side), small.embedding_shape, small.output_shape
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

    def _image(self, tile: Tile, image: np.ndarray) -> Tensor:
        """Return the image under a tile, (1, 3, h, w) in 0..1."""
        pixels = torch.from_numpy(image[tile.rows.padded(), tile.columns.padded()]).to(self.device)
        scale = 1 if pixels.is_floating_point() else 255
        return pixels.permute(2, 0, 1)[None].float().contiguous() / scale

    def _embed(self, tile: Tile, arrays: Arrays) -> None:
        assert isinstance(self.embedding, (EmbeddingNet, ColorEmbedding))
        embedding = self.embedding(self._image(tile, arrays.image))[0]
        rows, columns = (_inside(span.start - span.padded_start, span.stop - span.start) for span in tile)
        kept = embedding[:, rows, columns][:, :: self.stride, :: self.stride]
        arrays.embedding()[:, tile.rows.core(self.stride), tile.columns.core(self.stride)] = kept.cpu().numpy()

    def _refine(self, tile: Tile, arrays: Arrays) -> None:
        layer, logits = self.layer, _takes_logits(self.layer)
        scores = self._read(arrays.scores(), tile, self.scores_stride)
        channels = encode(scores, self.kind, logits, self.channels, self.certainty)
        padded = tuple(span.padded_stop - span.padded_start for span in tile)
        channels = self._resample(channels, (padded[0], padded[1]))
        if isinstance(layer, DenseCRF):
            refined = layer(channels.cpu(), self._image(tile, arrays.image).cpu()).to(self.device)
        else:
            if isinstance(self.embedding, np.ndarray):
                embedding = self._read(self.embedding, tile, 1)[None, :, :: self.stride, :: self.stride].float()
            else:
                embedding = self._read(arrays.embedding(), tile, self.stride)[None]
            if arrays.mask is not None:
                mask = attention_mask(layer.distance(embedding), layer.hardness.clamp(min=0))[0]
                self._write(arrays.mask, mask, tile, self.stride)
            refined = layer(channels, embedding)
        rows, columns = (  # one more than the tile has, to upsample towards
            _inside((span.start - span.padded_start) // self.stride, (span.stop - span.start) // self.stride + 1)
            for span in tile
        )
        refined = refined[..., rows, columns]
        height, width = (n * self.stride for n in refined.shape[-2:])
        refined = upsample(refined, self.stride, (height, width))
        refined = refined[..., : tile.rows.stop - tile.rows.start, : tile.columns.stop - tile.columns.start]
        output = decode(refined, self.kind, logits)
        if self.classify:
            output = output.argmax(0)
        arrays.output()[..., tile.rows.core(), tile.columns.core()] = output.cpu().numpy()

    def _read(self, array: np.ndarray, tile: Tile, stride: int) -> Tensor:
        """Return a copy of an array at a stride to the image under a tile, so that the array can be closed."""
        part = array[..., tile.rows.padded(stride), tile.columns.padded(stride)]
        # torch has no other byte order than the machine's, and hardly any arithmetic for unsigned integers.
        dtype = np.dtype(np.int64) if part.dtype.kind in "iu" else part.dtype.newbyteorder("=")
        return torch.from_numpy(np.array(part, dtype, order="C")).to(self.device)

    def _write(self, array: np.ndarray, padded: Tensor, tile: Tile, stride: int) -> None:
        rows, columns = (
            slice(a.start - b.start, a.stop - b.start)
            for a, b in ((span.core(stride), span.padded(stride)) for span in tile)
        )
        array[..., tile.rows.core(stride), tile.columns.core(stride)] = padded[..., rows, columns].cpu().numpy()

    def _resample(self, channels: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring channels at the stride of the scores to that of the layer."""
        if self.stride % self.scores_stride == 0:
            step = self.stride // self.scores_stride
            return channels[..., ::step, ::step].contiguous()
        return upsample(channels, self.scores_stride // self.stride, sampled_size(size, self.stride)).contiguous()


def _inside(start: int, length: int) -> slice:
    return slice(start, start + length)


def _takes_logits(layer: Layer) -> bool:
    return not isinstance(layer, BilateralFilter2d)
