"""The weighted median of windows in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from segaware.ops._autocast import without_autocast
from segaware.ops.window import Window


@without_autocast
def segaware_median2d(input: Tensor, mask: Tensor, window: Window, iterations: int, center_weight: float) -> Tensor:
    """y_i = the least x_l of the window with sum_k m_ik [x_k <= x_l] >= sum_k m_ik / 2, repeated with the same mask."""
    inside, (row, column) = window.inside(input), window.centre
    centre = row * window.kernel_size[1] + column
    mask = mask.detach().where(inside, 0)
    mask[:, centre] += center_weight * mask.sum(1) * inside[centre]
    for _ in range(iterations):
        input = torch.cat([_median(channel, mask, window) for channel in input.split(1, dim=1)], 1)
    return input


def _median(channel: Tensor, mask: Tensor, window: Window) -> Tensor:
    """Return that of one channel (N, 1, H, W). Its gradient is that of the first tap which has the value."""
    padded = window.pad(channel)
    seen = torch.cat([window.view(padded, tap) for tap in window.taps()], 1)
    weight = mask.where(seen == seen, 0)  # NaN is left out
    ascending, order = seen.detach().sort(1)
    sums = weight.gather(1, order).cumsum(1)
    rank = (sums < sums[:, -1:] / 2).sum(1, keepdim=True)
    chosen = (seen == ascending.gather(1, rank)) & (weight > 0)
    tap = chosen.to(torch.uint8).argmax(1, keepdim=True)
    return seen.gather(1, tap).where(sums[:, -1:] > 0, torch.nan)
