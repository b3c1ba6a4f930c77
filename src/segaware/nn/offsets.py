"""Pairs of pixels at random offsets: pairs far apart at the cost of two views of a map, without windows."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Offset(NamedTuple):
    """From the first pixel of a pair to the second; half of the plane, as a pair has no order.

    Attributes:
        down: Rows, 0 or more.
        right: Columns, of any sign.
    """

    down: int
    right: int

    @property
    def length(self) -> float:
        """Euclidean, in pixels."""
        return math.hypot(*self)

    def views(self, map: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first and the second pixel of every pair of a map (..., H, W), as two views of it."""
        height, width = map.shape[-2:]
        over, left, right = abs(self.right), max(-self.right, 0), max(self.right, 0)
        rows, columns = max(height - self.down, 0), max(width - over, 0)
        first = map[..., :rows, left : left + columns]
        second = map[..., self.down : self.down + rows, right : right + columns]
        return first, second


def random_offsets(radius: float, count: int, generator: torch.Generator | None = None) -> list[Offset]:
    """Draw offsets at random angles: of 1, 2 and 3 pixels, and `count` more with lengths spread evenly over scales.

    Pairs of 1 to 3 pixels with different labels straddle a border that is no further than that.

    Args:
        radius: The largest length, in pixels.
        count: How many lengths to draw from 4 to `radius`, evenly in their logarithm.
        generator: Of the random numbers; None for torch's own.

    Example:
        >>> from segaware.nn.offsets import random_offsets
        >>> len(random_offsets(64, 5))
        8
    """
    draws = torch.rand(2, 3 + count, generator=generator, dtype=torch.float64)
    lengths = [1.0, 2.0, 3.0, *(4 * (radius / 4) ** draws[0, 3:]).tolist()]
    angles = (math.pi * draws[1]).tolist()
    offsets = [
        Offset(round(length * math.sin(angle)), round(length * math.cos(angle)))
        for length, angle in zip(lengths, angles, strict=True)
    ]
    # Half a circle ends where it begins; a pair and its reverse are the same.
    return [Offset(0, abs(offset.right)) if offset.down == 0 else offset for offset in offsets]
