"""The settings of a refinement, and the checks of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from segaware.constants import IGNORE_INDEX
from segaware.nn import BilateralFilter2d, ColorEmbedding, DenseCRF, Embedding, edge_filter, load_embedding
from segaware.nn.bilateral_filter import Reduce
from segaware.nn.bundled import DEFAULT_EMBEDDING
from segaware.ops.arguments import check_integer, is_number
from segaware.ops.window import IntPair, as_pair
from segaware.refining.checks import check_labels, check_masks, check_values
from segaware.refining.grid import Align, Box, find_grid
from segaware.refining.kinds import LARGEST, Given, Kind, MaskNumbers, Open, count_contenders
from segaware.refining.layers import Method, RefiningLayer, build_layer
from segaware.refining.modules import device_of, in_evaluation
from segaware.refining.refinement import Refinement, to_input
from segaware.refining.strength import Strength, check_strength, transition_width

Array: TypeAlias = Tensor | np.ndarray
Network: TypeAlias = Callable[[Tensor], Tensor]
EmbeddingName: TypeAlias = Literal["pretrained", "fast", "vgg", "color"]
EmbeddingSource: TypeAlias = EmbeddingName | Network | Tensor | np.ndarray

_WIDE = 8  # pixels that a transition takes in scores that were interpolated from a coarse grid, or are as blurred


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How images are refined. See `refine` for what the attributes mean."""

    method: Method | RefiningLayer = "filter"
    kind: Kind = "scores"
    kernel_size: IntPair | None = None
    iterations: int | None = None
    hardness: float | None = None
    stride: int | None = None
    num_classes: int | None = None
    certainty: float = 0.7
    clip: float = 1e-5
    strength: Strength = "auto"
    ignore_index: int = IGNORE_INDEX
    align: Align | None = None
    region: Box | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {get_args(Kind)}, got {self.kind!r}")
        if self.kind in ("values", "masks") and not self.filters:
            raise ValueError(f"method must be 'filter' for {self.kind}, which have no classes, got {self.method!r}")
        if isinstance(self.method, BilateralFilter2d) and self.method.reduce == "median" and self.kind != "values":
            raise ValueError(f"method must reduce by 'mean' for {self.kind}: medians of classes do not sum to 1")
        check_strength(self.strength)
        check_integer("ignore_index", self.ignore_index, -(2**63))

    @property
    def filters(self) -> bool:
        """Whether a filter refines, and not a CRF."""
        return isinstance(self.method, BilateralFilter2d) or self.method == "filter"

    def prepare(
        self,
        image: np.ndarray,
        scores: Open,
        embedding: Network | np.ndarray,
        device: torch.device | None = None,
        classify: bool = False,
    ) -> Refinement:
        """Check what is given for one image, and return how it is refined.

        Args:
            image: RGB (H, W, 3), uint8 or floats in 0..1.
            scores: Opens what is refined, (C, h, w), or (h, w) of labels.
            embedding: What embeds images, or embeddings (E, H, W).
            device: Where to compute with what has no tensors of its own.
            classify: Whether the class of the highest score is wanted.

        Raises:
            ValueError: If something does not fit.
        """
        device = device or torch.device("cpu")
        if classify and self.kind not in ("scores", "probabilities"):
            raise ValueError(f"classify is for scores and probabilities, got kind {self.kind!r}")
        size = image.shape[0], image.shape[1]
        rows, columns = scores().shape[-2:]
        if not rows * columns:
            raise ValueError(f"scores must have at least one row and column, got shape {scores().shape}")
        if self.align is None and self.region is None:
            _check_layout(scores().shape, size)
        grid = find_grid(size, (rows, columns), self.align, self.region)
        given = self._check(scores)
        color = isinstance(embedding, ColorEmbedding)
        values = self.kind == "values"
        coarse = not values and (grid.spacing >= 2 or grid.spacing * self._width(scores, given) >= _WIDE)
        reduce: Reduce = "median" if values else "mean"
        layer = build_layer(
            self.method, given.channels, self.kernel_size, self.iterations, self.hardness, color, coarse, reduce
        )
        if isinstance(self.method, str):
            layer = layer.to(device)
        if self.kernel_size is not None and max(as_pair("kernel_size", self.kernel_size, 1)) > 2 * max(size):
            raise ValueError(
                f"kernel_size must be at most {2 * max(size)}, twice the image's longer side, got {self.kernel_size}"
            )
        stride = 2 if coarse else 1
        if self.stride is not None:
            stride = check_integer("stride", self.stride, 1, max(size))
        if isinstance(layer, DenseCRF):
            embedding = np.empty((0, *size), np.float32)
        elif isinstance(embedding, np.ndarray):
            _check_embedding(embedding, size)
        else:
            embedding = in_evaluation("embedding", embedding)
            if not isinstance(embedding, Embedding):
                embedding = _embed(embedding, image, device)
        needs_edges = stride > 1 or (values and not color)
        edges = edge_filter(reduce=reduce).to(device) if self.method == "filter" and needs_edges else None
        return Refinement(
            size,
            given,
            grid,
            in_evaluation("method", layer),
            embedding,
            stride,
            edges,
            classify,
            self._taken(),
            partial(count_contenders, scores, given) if classify and self.filters else None,
            device,
        )

    def _check(self, scores: Open) -> Given:
        """Check what is refined, and return how it is taken."""
        kind = self.kind
        numbers: MaskNumbers = "0..1"
        if kind != "labels" and self.num_classes is not None:
            raise ValueError(f"num_classes is for labels only, got {self.num_classes} with kind {kind!r}")
        if kind == "labels":
            channels = check_labels(scores(), self.num_classes, self.ignore_index, present=self.filters)
        elif kind == "masks":
            channels, numbers = check_masks(scores)
        else:
            channels = check_values(scores, kind)
        if channels == 1 and not self.filters:
            raise ValueError("scores must be of at least 2 classes for a CRF, got 1: of one logit x, give [0, x]")
        if kind == "labels" and not (is_number(self.certainty) and 1 / channels < self.certainty < 1):
            raise ValueError(
                f"certainty must be above 1 / {channels}, a guess among {channels} classes, and below 1, "
                f"got {self.certainty!r}"
            )
        least = torch.finfo(torch.float32).tiny
        if kind == "probabilities" and not (is_number(self.clip) and least <= self.clip < 1 / channels):
            raise ValueError(
                f"clip must be at least {least:.3g} and below 1 / {channels}, a guess among {channels} classes, "
                f"got {self.clip!r}"
            )
        return Given(kind, channels, not self.filters, self.certainty, self.clip, self.ignore_index, numbers)

    def _width(self, scores: Open, given: Given) -> float:
        """Return how blurred the borders are, in points of the grid; labels and values are not."""
        measured = self.method == "filter" and self.kind not in ("labels", "values")
        return transition_width(scores, given) if measured else 1.0

    def _taken(self) -> Strength:
        """Return how much of the layer is taken.

        Values do not say how sure they are; a dense CRF, and a layer that was given, do all that they do.
        """
        whole = self.kind == "values" or self.method not in ("filter", "segaware_crf")
        return 1.0 if self.strength == "auto" and whole else self.strength


@cache
def named_embedding(name: EmbeddingName, device: torch.device) -> Embedding:
    """Return an embedding that comes with segaware, loaded once for every device."""
    if name == "color":
        return ColorEmbedding()
    return load_embedding(DEFAULT_EMBEDDING if name == "pretrained" else name).to(device)


def to_embeddings(
    embedding: EmbeddingSource, count: int, batched: bool, device: torch.device
) -> Sequence[Network | np.ndarray]:
    """Return what embeds each of `count` images, or its embedding (E, H, W).

    Args:
        embedding: What was given for it.
        count: Number of images.
        batched: Whether they were given as a batch.
        device: Where a network that comes with segaware computes.
    """
    names = get_args(EmbeddingName)
    if isinstance(embedding, str) and embedding in names:
        return [named_embedding(embedding, device)] * count
    if not isinstance(embedding, Tensor | np.ndarray):
        if not callable(embedding):
            raise ValueError(f"embedding must be one of {names}, a module or embeddings, got {embedding!r}")
        return [embedding] * count
    array = to_numpy("embedding", embedding)
    if array.ndim != 3 + batched or (batched and len(array) != count):
        raise ValueError(
            f"embedding must be of shape {(count, 'E', 'H', 'W') if batched else '(E, H, W)'}, "
            f"got {tuple(embedding.shape)}"
        )
    return list(array) if batched else [array]


def to_images(image: Array) -> np.ndarray:
    """Return images (..., H, W, 3), once they are known to be RGB, and in 0..1 if they are floats."""
    pixels = to_numpy("image", image)
    if isinstance(image, Tensor) and pixels.ndim in (3, 4):
        pixels = np.moveaxis(pixels, -3, -1)
    if pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or not pixels.size:
        wanted = "(3, H, W) or (N, 3, H, W)" if isinstance(image, Tensor) else "(H, W, 3) or (N, H, W, 3)"
        raise ValueError(f"image must be RGB of shape {wanted}, got {tuple(image.shape)}")
    if pixels.dtype.kind != "f":
        if pixels.dtype != np.uint8:
            raise ValueError(f"image must be uint8 or floating-point, got {pixels.dtype}")
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    if not 0 <= low <= high <= 1:
        raise ValueError(f"image must be in 0..1, or uint8, got {pixels.dtype} values from {low:.4g} to {high:.4g}")
    return pixels


def to_numpy(name: str, array: Array) -> np.ndarray:
    """Return a tensor or array as array; what NumPy has no type for, as float32."""
    if isinstance(array, Tensor):
        if array.layout != torch.strided or array.is_nested or array.is_quantized or array.is_meta:
            raise ValueError(
                f"{name} must be a dense tensor, got one that is sparse, nested, quantized or without data"
            )
        known = not array.is_floating_point() or array.dtype in (torch.float16, torch.float32, torch.float64)
        return (array if known else array.float()).numpy(force=True)
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be a torch.Tensor or a NumPy array, got {type(array).__name__}")
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(f"{name} must not be a masked array, whose mask would be lost: give its filled(...)")
    return array


def _check_layout(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """Check for axes in another order, which would be taken for scores of another size."""
    last = len(shape) == 3 and shape[:2] == size and shape[1:] != size
    if last or (shape[-2:] == size[::-1] and size[0] != size[1]):
        wanted = "(h, w)" if len(shape) == 2 else "(C, h, w)"
        given = "(H, W, C)" if last else "(W, H)" if len(shape) == 2 else "(C, W, H)"
        raise ValueError(f"scores must be {wanted}, got {given} of shape {shape}; give align if that is their size")


def _check_embedding(embedding: np.ndarray, size: tuple[int, int]) -> None:
    if embedding.ndim != 3 or embedding.shape[1:] != size or not embedding.size or embedding.dtype.kind != "f":
        raise ValueError(
            f"embedding must be floating-point numbers of the image's size (E, {size[0]}, {size[1]}), "
            f"got {embedding.dtype} of shape {embedding.shape}"
        )
    if not all(-LARGEST <= float(channel.min()) <= float(channel.max()) <= LARGEST for channel in embedding):
        raise ValueError(f"embedding must be finite and at most {LARGEST:g}, got NaN, infinite or larger values")


@torch.no_grad()  # not inference_mode, whose tensors would be of no use in training to a module that keeps some
def _embed(network: Network, image: np.ndarray, device: torch.device) -> np.ndarray:
    """Embed a whole image: how far a pixel of an unknown network sees is not known."""
    embedding = network(to_input(image, device_of(network, device)))
    if not isinstance(embedding, Tensor) or embedding.dim() != 4 or len(embedding) != 1:
        shape = tuple(embedding.shape) if isinstance(embedding, Tensor) else type(embedding).__name__
        raise ValueError(f"embedding must return tensors (N, E, H, W), got {shape}")
    array = to_numpy("embedding", embedding[0].float())
    _check_embedding(array, image.shape[:2])
    return array
