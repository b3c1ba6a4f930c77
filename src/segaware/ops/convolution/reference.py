"""Eq. 7 in plain PyTorch."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from segaware.ops._autocast import without_autocast
from segaware.ops._recomputed import recomputed
from segaware.ops.window import Window

Normalize: TypeAlias = Literal["mean", "sum", "none"]


def masked_tap(x: Tensor, mask: Tensor, weight: Tensor, groups: int) -> Tensor:
    """x_k m_ik t_k for one tap k: a 1x1 convolution of the masked view."""
    return F.conv2d(x * mask, weight, groups=groups)


@without_autocast
def segaware_conv2d(
    input: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, window: Window, groups: int, normalize: Normalize
) -> Tensor:
    """y_i = sum_k x_k m_ik t_k / sum_k m_ik, one tap at a time; "mean" multiplies by K, "none" does not divide."""
    padded = window.pad(input)
    output = input.new_zeros(())
    taps = zip(window.taps(), mask.split(1, dim=1), weight.flatten(2)[..., None].split(1, dim=2), strict=True)
    for tap, tap_mask, tap_weight in taps:
        # Recomputed in the backward pass, so that K masked copies of the input are not kept for it.
        output = output + recomputed(masked_tap, window.view(padded, tap), tap_mask, tap_weight, groups)
    if normalize == "mean":
        output = output / mask.mean(1, keepdim=True)
    elif normalize == "sum":
        output = output / mask.sum(1, keepdim=True)
    return output if bias is None else output + bias[:, None, None]
