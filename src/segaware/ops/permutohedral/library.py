"""What torch's compiler and exporter know about the kernels of `mean_field`; they have no gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from segaware.ops._library import fake, operator


@operator(devices=["CPU"])
def permutohedral_mean_field(
    log_probabilities: Tensor, features: list[Tensor], weights: list[float], iterations: int
) -> Tensor:
    """Run the kernels; log-probabilities (C, N) are float32, features (D, N) that or float64."""
    from segaware.ops.permutohedral._numba.mean_field import mean_field

    return mean_field(log_probabilities, features, weights, iterations)


@fake(permutohedral_mean_field)
def _(log_probabilities: Tensor) -> Tensor:
    return torch.empty_like(log_probabilities, memory_format=torch.contiguous_format)
