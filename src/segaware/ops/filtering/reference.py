"""Eq. 4 in plain PyTorch."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor

from segaware.ops._autocast import without_autocast
from segaware.ops.window import Window

Border: TypeAlias = Literal["exclude", "zero"]


@without_autocast
def segaware_filter2d(input: Tensor, mask: Tensor, window: Window, iterations: int, border: Border) -> Tensor:
    """y_i = sum_k x_k m_ik / sum_k m_ik, repeated with the same mask."""
    if border == "exclude":
        mask = mask.where(window.inside(input), 0)
    total = mask.sum(1, keepdim=True)
    masks = mask.split(1, dim=1)
    for _ in range(iterations):
        padded = window.pad(input)
        masked_sum = input.new_zeros(())
        for tap, tap_mask in zip(window.taps(), masks, strict=True):
            masked_sum = masked_sum + window.view(padded, tap) * tap_mask
        input = masked_sum / total
    return input
