"""The Gaussian filter and the mean field of a fully connected CRF in plain PyTorch, over all pairs of pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from segaware.ops._autocast import without_autocast

_PAIRS = 1 << 24  # at a time


@without_autocast
def gaussian_filter(features: Tensor, values: Tensor) -> Tensor:
    """y_i = sum_j exp(-|f_i - f_j|^2 / 2) v_j, for features (D, N) and values (C, N)."""
    points = features.t().contiguous()
    kernels = (torch.exp(_squared_distance(points, some) / -2) for some in points.split(max(1, _PAIRS // len(points))))
    return torch.cat([values @ kernel for kernel in kernels], dim=1)


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def symmetric_filter(features: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the filter with K_ij / sqrt(sum_k K_ik * sum_k K_jk) in place of K_ij = exp(-|f_i - f_j|^2 / 2)."""
    norm = gaussian_filter(features, torch.ones_like(features[:1])).rsqrt()
    return lambda values: norm * gaussian_filter(features, norm * values)


@without_autocast
def mean_field(
    log_probabilities: Tensor, filters: Sequence[Callable[[Tensor], Tensor]], weights: Sequence[float], iterations: int
) -> Tensor:
    """Q' = softmax(log P + sum_m w_m K_m Q), repeated from Q = P; (C, N)."""
    marginals = log_probabilities.softmax(0)
    for _ in range(iterations):
        messages = (weight * filter(marginals) for weight, filter in zip(weights, filters, strict=True))
        marginals = sum(messages, log_probabilities).softmax(0)
    return marginals
