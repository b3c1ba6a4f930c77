"""Where scores lie in an image, and their interpolation to its pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from segaware.nn.resampling import sampled_size
from segaware.ops.arguments import is_number
from segaware.refining.tiles import Span, Tile

Align: TypeAlias = Literal["centers", "corners", "strided"]
"""How points lie in their region: as cells, from its first pixel to its last, or on every s-th pixel."""
Box: TypeAlias = tuple[float, float, float, float]


class Axis(NamedTuple):
    """One side of a grid: pixel p of the image lies at `scale * p + offset` of its points 0..length-1."""

    length: int
    scale: float
    offset: float

    def at(self, pixels: Tensor) -> Tensor:
        """Return where pixels lie; beyond the first and last point, on these."""
        return (self.scale * pixels.double() + self.offset).clamp(0, self.length - 1)

    def seen(self, span: Span) -> slice:
        """Return the points between which the pixels lie that a tile reads."""
        first, last = self.at(torch.tensor([span.padded_start, span.padded_stop - 1])).tolist()
        return slice(math.floor(first), math.ceil(last) + 1)

    def interpolated(self, part: Tensor, dim: int, span: Span, stride: int) -> Tensor:
        """Return the values at every `stride`-th pixel that a tile reads, given those of the points `seen`."""
        place = self.at(torch.arange(span.padded_start, span.padded_stop, stride)) - self.seen(span).start
        low = place.floor().long()
        weight = (place - low).to(part.device, part.dtype)
        low = low.to(part.device)
        values = part.index_select(dim, low)
        if not weight.any():  # the points are among the pixels
            return values
        above = part.index_select(dim, (low + 1).clamp(max=part.shape[dim] - 1))
        return values.lerp_(above, weight.view(-1, *[1] * (-dim - 1)))


class Grid(NamedTuple):
    """Where rows and columns of scores lie in an image."""

    rows: Axis
    columns: Axis

    @property
    def spacing(self) -> float:
        """Pixels of the image from one point to the next, of the denser side."""
        return 1 / max(axis.scale for axis in self) if any(axis.scale for axis in self) else math.inf

    def under(self, tile: Tile) -> tuple[slice, slice]:
        """Return the rows and columns that a tile reads."""
        return self.rows.seen(tile.rows), self.columns.seen(tile.columns)

    def interpolated(self, part: Tensor, tile: Tile, stride: int) -> Tensor:
        """Return channels (1, C, H, W) at every `stride`-th pixel that a tile reads, of those that are `under` it."""
        part = self.columns.interpolated(part, -1, tile.columns, stride)
        return self.rows.interpolated(part, -2, tile.rows, stride)

    def nearest(self, labels: Tensor, tile: Tile) -> Tensor:
        """Return the labels (H, W) nearest to the pixels that a tile computes, of those that are `under` it."""
        rows, columns = (
            (axis.at(torch.arange(span.start, span.stop)) + 0.5).floor().long().sub(axis.seen(span).start)
            for axis, span in zip(self, tile, strict=True)
        )
        return labels[rows[:, None].to(labels.device), columns.to(labels.device)]


def find_grid(
    size: tuple[int, int], points: tuple[int, int], align: Align | None = None, region: Sequence[float] | None = None
) -> Grid:
    """Return where scores lie.

    Args:
        size: Height and width of the image.
        points: Rows and columns of the scores.
        align: How they lie in the region; None for "strided" if its size allows that, else "centers".
        region: Left, top, right and bottom of the box that they cover, in pixels from the image's upper left corner;
            None for the image.

    Raises:
        ValueError: If an argument is wrong; the message names it.
    """
    if align is not None and align not in get_args(Align):
        raise ValueError(f"align must be one of {get_args(Align)}, got {align!r}")
    left, top, right, bottom = (0.0, 0.0, size[1], size[0]) if region is None else _check_region(region, size)
    height, width = bottom - top, right - left
    whole = all(float(number).is_integer() for number in (left, top, right, bottom))
    stride = find_stride((int(height), int(width)), points) if whole else None
    if align == "strided" and stride is None:
        raise ValueError(
            f"align must be 'centers' or 'corners' for scores of {points[0]}x{points[1]} (height x width), got "
            f"'strided': no stride s gives that of {height:g}x{width:g} pixels as ceil(height / s) x ceil(width / s)"
        )
    if stride is not None and align in (None, "strided"):
        return Grid(*(Axis(n, 1 / stride, -start / stride) for n, start in zip(points, (top, left), strict=True)))
    axes = zip(points, (top, left), (height, width), strict=True)
    if align == "corners":
        scales = ((n, (n - 1) / max(length - 1, 1), start) for n, start, length in axes)
        return Grid(*(Axis(n, scale, -scale * start) for n, scale, start in scales))
    return Grid(*(Axis(n, n / length, (0.5 - start) * n / length - 0.5) for n, start, length in axes))


def _check_region(region: Sequence[float], size: tuple[int, int]) -> Box:
    wanted = "four numbers, left < right and top < bottom, that cover a part of the image"
    if len(region) != 4 or not all(is_number(number) for number in region):
        raise ValueError(f"region must be {wanted}, got {region!r}")
    left, top, right, bottom = (float(number) for number in region)
    if not (left < right and top < bottom and left < size[1] and top < size[0] and right > 0 and bottom > 0):
        raise ValueError(f"region must be {wanted}, of {size[0]}x{size[1]} (height x width), got {tuple(region)}")
    return left, top, right, bottom


def find_stride(size: tuple[int, int], points: tuple[int, ...]) -> int | None:
    """Return the stride of points to an image; of several that fit, a power of two or the smallest; None without one.

    Example:
        >>> find_stride((300, 451), (38, 57))
        8
    """
    fits = [stride for stride in range(1, max(size) + 1) if sampled_size(size, stride) == points]
    return next((s for s in fits if s & (s - 1) == 0), fits[0] if fits else None)
