"""The mask of a CRF's neighbours in plain PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segaware.ops._autocast import without_autocast
from segaware.ops.mask import log_mask


@without_autocast
def neighbour_mask(distance: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor, overwrite: bool) -> Tensor:
    """Return the softmax over taps of -hardness * d + rows + columns, without the centre."""
    kernel_size = len(rows), len(columns)
    distance = distance.unflatten(1, kernel_size)
    score = log_mask(distance, hardness, overwrite)
    score.add_(rows[:, None, :, None]).add_(columns[:, None])
    with torch.no_grad():  # where the softmax is 0, so is its gradient
        score[:, kernel_size[0] // 2, kernel_size[1] // 2] = -math.inf
    return score.flatten(1, 2).softmax(1)
