"""The distances of Eq. 1 and Eq. 3 in plain PyTorch."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from segaware.ops._autocast import without_autocast
from segaware.ops._recomputed import recomputed
from segaware.ops.window import Window

Metric: TypeAlias = Literal["l1", "sqeuclidean", "euclidean"]


def pair_distance(a: Tensor, b: Tensor, metric: Metric) -> Tensor:
    """Return the distance between two tensors (N, E, H, W) along their channels, (N, H, W).

    At equal embeddings the gradient of every metric is 0.
    """
    difference = a - b
    if metric == "l1":
        return difference.abs().sum(1)
    squared = difference.square().sum(1)
    if metric == "sqeuclidean":
        return squared
    # The root has no gradient at 0: take it of 1 there, and multiply by 0.
    apart = squared > 0
    return torch.where(apart, squared, 1).sqrt() * apart


def recomputed_pair_distance(a: Tensor, b: Tensor, metric: Metric) -> Tensor:
    """`pair_distance` that keeps its two inputs for the backward pass and not their C-channel difference."""
    return recomputed(pair_distance, a, b, metric)


@without_autocast
def embedding_distance(embedding: Tensor, window: Window, metric: Metric) -> Tensor:
    """d_ik = ||e_i - e_k|| for every output pixel i and tap k; 0 where i or k lies outside the image."""
    padded = window.pad(embedding)
    centre = window.view(padded, window.centre)
    distances = [recomputed_pair_distance(centre, window.view(padded, tap), metric) for tap in window.taps()]
    inside = window.inside(embedding)
    row, column = window.centre
    return torch.stack(distances, dim=1).where(inside & inside[row * window.kernel_size[1] + column], 0)
