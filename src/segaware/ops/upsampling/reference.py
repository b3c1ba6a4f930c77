"""Joint bilateral upsampling over embeddings in plain PyTorch."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from segaware.ops._autocast import without_autocast
from segaware.ops._recomputed import recomputed
from segaware.ops.distance.reference import pair_distance
from segaware.ops.mask import log_mask
from segaware.ops.upsampling.taps import taps_at


@without_autocast
def segaware_upsample(
    input: Tensor, embedding: Tensor, coarse_embedding: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor,
    radius: int,
) -> Tensor:  # fmt: skip
    """u(x) = sum_y t m v(y) / sum_y t m, with t m = exp(log t - hardness * d), a softmax over the taps."""
    sides = taps_at(rows, input.shape[2], radius), taps_at(columns, input.shape[3], radius)
    indices = list(product(*(side.points for side in sides)))
    scores = []
    for at, (down, across) in zip(indices, product(*(side.weight for side in sides)), strict=True):
        distance = recomputed(_distance, embedding, coarse_embedding, *at)
        scores.append(log_mask(distance, hardness) + (down[:, None] * across).log().to(distance.dtype))
    # torch's softmax would keep its output, see `mask._Mask`.
    weights = recomputed(torch.softmax, torch.stack(scores, dim=1), 1).split(1, dim=1)
    output = input.new_zeros(())
    for at, weight in zip(indices, weights, strict=True):
        output = output + recomputed(_weighted, input, weight, *at)
    return output


def _seen(points: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return what the pixels see of coarse maps (N, C, h, w) at one tap, (N, C, H, W)."""
    return points.index_select(2, row).index_select(3, column)


def _distance(embedding: Tensor, coarse_embedding: Tensor, row: Tensor, column: Tensor) -> Tensor:
    return pair_distance(embedding, _seen(coarse_embedding, row, column), "l1")


def _weighted(input: Tensor, weight: Tensor, row: Tensor, column: Tensor) -> Tensor:
    return _seen(input, row, column) * weight
