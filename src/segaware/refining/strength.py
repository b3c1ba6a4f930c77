"""How much of what a layer makes of its input is taken, pixel by pixel."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor

from segaware.ops.arguments import is_number

Strength: TypeAlias = float | Literal["auto"]
"""A number in 0..1 for all pixels, or "auto" for what `gate` says of each."""

_FULL = 0.1  # pixels as unsure as this, or more, are filtered in full


def check_strength(strength: Strength) -> None:
    """Raise ValueError if it is none."""
    if strength != "auto" and not (is_number(strength) and 0 <= strength <= 1):
        raise ValueError(f"strength must be 'auto' or a number in 0..1, got {strength!r}")


def gate(probabilities: Tensor, exclusive: bool) -> Tensor:
    """Return how much of a filter pixels take: all where they are unsure, down to nothing where they are certain.

    So what is as sharp as pixels are stays as it is, thin structures too; and where a coarse grid or a network have
    blurred a border over some pixels, all of these are filtered.

    Args:
        probabilities: (1, C, H, W).
        exclusive: Whether the channels are those of classes that exclude each other, and not of a mask each.

    Returns:
        Numbers in 0..1, (1, 1, H, W), or (1, C, H, W) of masks.
    """
    most = probabilities.amax(1, keepdim=True) if exclusive else (probabilities - 0.5).abs() + 0.5
    unsure = 2 - 2 * most  # the margin to 1 of the most probable of two classes over the other
    return (unsure / _FULL).clamp_(0, 1)
