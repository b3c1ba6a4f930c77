"""Eq. 4 in plain PyTorch."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from segaware.ops.window import Window

Border: TypeAlias = Literal["exclude", "zero"]


def segaware_filter2d(input: Tensor, mask: Tensor, window: Window, iterations: int, border: Border) -> Tensor:
    """y_i = sum_k x_k m_ik / sum_k m_ik, repeated with the same mask."""
    size = window.output_size(input)
    if border == "exclude":
        inside = window.pad(input.new_ones(1, *input.shape[-2:]))
        mask = mask * torch.stack([window.view(inside, tap, size) for tap in window.taps()], dim=1)
    total = mask.sum(1, keepdim=True)
    for _ in range(iterations):
        padded = window.pad(input)
        masked_sum = input.new_zeros(())
        for k, tap in enumerate(window.taps()):
            masked_sum = masked_sum + window.view(padded, tap, size) * mask[:, k : k + 1]
        input = masked_sum / total
    return input
