"""Eq. 3: embedding distances become a local attention mask."""

from __future__ import annotations

import math

from torch import Tensor

from segaware.ops.arguments import check_devices, check_tensor, is_number, value_range

_ROUNDING = 1e-5  # so far below 0 a hardness does nothing yet, and its slope at 0 can be measured


def attention_mask(distance: Tensor, hardness: float | Tensor) -> Tensor:
    """Turn embedding distances into a soft mask: m = exp(-hardness * distance), Eq. 3 of Harley et al. 2017.

    The mask is 1 where the distance is 0 (so at the centre of every window) and falls towards 0 with distance.
    Hardness 0 makes a mask of ones, with which every operator here is its ordinary counterpart.

    Args:
        distance: Distances of any shape, usually (N, K, Ho, Wo) from `embedding_distance`.
        hardness: The paper's lambda, 0 or more; a float, or a tensor (for learning) that broadcasts to `distance`. On a
            GPU the values of a tensor are not looked at, for that would wait for it.

    Returns:
        The mask, with the shape and dtype of `distance`.

    Raises:
        ValueError: If `distance` is not floating-point, or `hardness` is negative (such a mask would prefer the other
            side of the border), not finite, of another shape or on another device.
        TypeError: If `distance` is no tensor.

    Example:
        >>> attention_mask(torch.tensor([0.0, 1.0, 2.0]), hardness=1.0)
        tensor([1.0000, 0.3679, 0.1353])
    """
    check_tensor("distance", distance, "a floating-point tensor")
    _check_hardness(hardness, distance)
    return (-hardness * distance).exp_().to(distance.dtype)


def _check_hardness(hardness: float | Tensor, distance: Tensor) -> None:
    if not isinstance(hardness, Tensor):
        if not (is_number(hardness) and hardness >= 0):
            raise ValueError(f"hardness must be finite and 0 or more, got {hardness!r}")
        return
    shape = tuple(distance.shape)
    wanted = f"a number or a floating-point tensor that broadcasts to the shape of distance, {shape}"
    check_tensor("hardness", hardness, wanted, lambda hardness: _broadcasts(tuple(hardness.shape), shape))
    check_devices(distance=distance, hardness=hardness)
    low, high = (hardness.is_cpu and value_range(hardness)) or (0.0, 0.0)
    if not -_ROUNDING <= low <= high < math.inf:
        raise ValueError(f"hardness must be finite and 0 or more, got values from {low} to {high}")


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Say whether a shape broadcasts to another and does not enlarge it."""
    return len(shape) <= len(to) and all(own in (1, n) for own, n in zip(shape[::-1], to[::-1], strict=False))
