"""What the page shows and sharpens, read from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segaware.constants import IGNORE_INDEX
from segaware.data import DataError, photograph, photograph_logits, read_image
from segaware.nn import ColorEmbedding
from segaware.refining import parse_memory
from segaware.refining.kinds import Kind, contenders
from segaware.refining.score_files import FileSettings, open_scores
from segaware.refining.settings import Settings
from segaware.refining.tiles import Span, Tile

STRIDE = 2  # to the photograph, of embeddings and of the filter
MOST_PIXELS = 2_000_000  # of a photograph; what has more is reduced
_CERTAIN = 0.95  # and more probable: not all of the filter is taken
_MOST_CLASSES = 32  # that a page shows


@dataclass(frozen=True)
class Photograph:
    """A photograph as the page shows it.

    Attributes:
        name: Its file's.
        pixels: RGB, uint8 (H, W, 3).
        size: Height and width of the file.
    """

    name: str
    pixels: np.ndarray
    size: tuple[int, int]

    @property
    def reduced(self) -> bool:
        """Whether the file has more pixels."""
        return self.size != self.pixels.shape[:2]


@dataclass(frozen=True)
class Sketch:
    """What the page sharpens, or the truth.

    Attributes:
        name: Its file's.
        kind: What the file holds.
        key: The array of a .npz or .safetensors file, if it was named.
        classes: The classes that it knows, ascending.
        given: Of labels, the index into `classes` of every pixel of the photograph, 255 where unknown, uint8 (H, W). Of
            all else, probabilities of the classes as multiples of 1 / 255, uint8 (C, h, w), as they lie in the file.
    """

    name: str
    kind: Kind
    key: str | None
    classes: list[int]
    given: np.ndarray


def open_photograph(path: Path) -> Photograph:
    """Read a photograph, and reduce it to `MOST_PIXELS` if it has more."""
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    factor = (MOST_PIXELS / (height * width)) ** 0.5
    if factor < 1:
        smaller = int(width * factor), int(height * factor)
        if not all(smaller):
            raise DataError(f"{path}: must be less elongated to be shown, got {width}x{height} (width x height)")
        pixels = np.array(Image.fromarray(pixels).resize(smaller, Image.Resampling.LANCZOS))
    return Photograph(path.name, pixels, (height, width))


def packaged_sketch() -> Sketch:
    """Return what DeepLabV3 says of the photograph that comes with segaware."""
    return _to_sketch("DeepLabV3", None, read_image(photograph()), photograph_logits(), "scores")


def open_sketches(
    paths: Sequence[Path], image: np.ndarray, kind: Kind | None = None, key: str | None = None
) -> list[Sketch]:
    """Read files as `open_sketch` does; those that have the same name are called by that of their folders, too."""
    sketches = [open_sketch(path, image, kind, key) for path in paths]
    if len({path.name for path in paths}) == len(paths):
        return sketches
    return [replace(each, name=f"{path.parent.name}/{each.name}") for path, each in zip(paths, sketches, strict=True)]


def open_sketch(path: Path, image: np.ndarray, kind: Kind | None = None, key: str | None = None) -> Sketch:
    """Read scores, labels or a mask of any size.

    Args:
        path: A file as `segaware refine` reads it.
        image: The photograph as it is shown, (H, W, 3).
        kind: What the file holds; None for what it seems to.
        key: The array of a .npz or .safetensors file.

    Raises:
        DataError: If the file is missing, damaged, or of a kind that has no classes.
        ValueError: If its numbers do not fit.
    """
    found = open_scores(path, _reading(kind, key))
    if found.kind == "values":
        raise DataError(f"{path}: --scores must be scores, probabilities, labels or a mask, got values")
    array = found.open()
    if found.kind == "masks" and array.ndim == 2:
        array = array[None]
    return _to_sketch(path.name, key, image, array, found.kind)


def is_unsure(sketch: Sketch, image: np.ndarray) -> bool:
    """Return whether strength "auto" takes any of a filter; the page takes all of it otherwise."""
    if sketch.kind == "labels":
        return False
    return sketch.given.shape[1:] != image.shape[:2] or sketch.given.max(0).min() <= _CERTAIN * 255


def open_truth(path: Path, image: np.ndarray) -> Sketch:
    """Read true labels.

    Args:
        path: A label map as a PNG, 255 where unknown; one of 0 and 255 alone is a mask.
        image: The photograph as it is shown, (H, W, 3).

    Raises:
        DataError: If the file is missing, damaged, or of other pixels.
    """
    if path.suffix.lower() != ".png":
        raise DataError(f"{path}: --truth must be a .png of labels")
    labels = open_scores(
        path, _reading("masks")
    ).open()  # which has whatever integers the file has, 0 and 255 alone too
    if set(np.unique(labels)) == {0, IGNORE_INDEX}:
        labels = np.minimum(labels, 1)
    return _to_sketch(path.name, None, image, labels, "labels")


def _reading(kind: Kind | None, key: str | None = None) -> FileSettings:
    return FileSettings(Settings(), kind, key, "color", parse_memory("16GB"), False)


def _to_sketch(name: str, key: str | None, image: np.ndarray, array: np.ndarray, kind: Kind) -> Sketch:
    refinement = Settings(kind=kind, strength=1).prepare(image, lambda: array, ColorEmbedding())
    given, grid = refinement.given, refinement.grid
    part = torch.from_numpy(np.array(array, np.int64 if array.dtype.kind in "iu" else np.float32))
    height, width = image.shape[:2]
    tile = Tile(Span(0, height, 0, height), Span(0, width, 0, width))
    found = given.classes(part)
    if found is not None:
        return _of_labels(name, key, grid.nearest(part, tile).numpy(), found.tolist())
    channels = given.probabilities(part)
    if not given.exclusive:
        if channels.shape[1] != 1:
            raise DataError(f"{name}: the page takes one mask, got {channels.shape[1]}")
        channels = torch.cat([1 - channels, channels], 1)
    kept = contenders(channels[0])
    _check_count(name, len(kept))
    channels = channels[:, kept]
    if grid.spacing < 1:  # more than the photograph's pixels
        channels = grid.interpolated(channels, tile, 1)
    return Sketch(name, given.kind, key, kept.tolist(), (255 * channels[0]).round().byte().numpy())


def _of_labels(name: str, key: str | None, labels: np.ndarray, classes: list[int]) -> Sketch:
    _check_count(name, len(classes))
    if not 0 <= classes[0] <= classes[-1] < IGNORE_INDEX:
        raise DataError(
            f"{name}: the page takes labels of 0..254, and 255 where unknown, got {classes[0]}..{classes[-1]}"
        )
    indices = np.full(labels.shape, IGNORE_INDEX, np.uint8)
    for index, label in enumerate(classes):
        indices[labels == label] = index
    return Sketch(name, "labels", key, classes, indices)


def _check_count(name: str, count: int) -> None:
    if not 0 < count <= _MOST_CLASSES:
        raise DataError(f"{name}: the page takes 1 to {_MOST_CLASSES} classes, got {count}")
