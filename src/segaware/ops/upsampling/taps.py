"""Which coarse points a pixel sees along one side of an image, and with which weights."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Side: TypeAlias = tuple[float, float]
"""Scale and offset: pixel x lies at `scale * x + offset` among the points 0, 1, 2, ..."""

# Of the distance between two points. So pixels that lie on a point do so to the last bit, in every tile of an image: a
# weight that is there by rounding alone would count where all others are masked.
_STEP = 2.0**-30


class Taps(NamedTuple):
    """What every pixel of a side sees, tap by tap.

    Attributes:
        points: The point at each tap, (2 * radius, pixels), int64. Where a tap has no weight, as outside of the points,
            it is one that the pixel sees anyway.
        weight: Its weight, float64.
    """

    points: Tensor
    weight: Tensor


def places(side: Side | None, pixels: int, points: int, device: torch.device) -> Tensor:
    """Return where pixels lie among the points, (pixels,), float64; beyond the first and the last point, on these.

    If no side is given, both are cells that divide the image.
    """
    pixel = torch.arange(pixels, dtype=torch.float64, device=device)
    # Sizes may be symbols: they are multiplied with a tensor, never with each other.
    place = (2 * pixel + 1) * points / (2 * pixels) - 0.5 if side is None else side[0] * pixel + side[1]
    return ((place / _STEP).round() * _STEP).clamp(0, points - 1)


def taps_at(place: Tensor, points: int, radius: int) -> Taps:
    """Return what pixels at these places see: points nearer than `radius`, under a tent of that radius."""
    below = place.floor()
    tap = below + torch.arange(1 - radius, radius + 1, device=place.device)[:, None]
    weight = (1 - (place - tap).abs() / radius).clamp(min=0).where((tap >= 0) & (tap < points), 0)
    return Taps(tap.where(weight > 0, below).long(), weight)
