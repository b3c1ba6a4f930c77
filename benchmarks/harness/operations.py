"""Our operators with the signatures that peers have."""

from __future__ import annotations

from torch import Tensor

from segaware.ops import attention_mask, embedding_distance, segaware_conv2d, segaware_filter2d
from segaware.ops.distance.reference import Metric


def convolution(input: Tensor, weight: Tensor, mask: Tensor, dilation: int = 1) -> Tensor:
    """Convolve under a mask."""
    return segaware_conv2d(input, weight, mask, padding="same", dilation=dilation)


def distance(embedding: Tensor, kernel_size: int, dilation: int = 1) -> Tensor:
    """Compare every pixel's embedding with its window."""
    return embedding_distance(embedding, kernel_size, padding="same", dilation=dilation)


def bilateral_filter(
    input: Tensor, embedding: Tensor, kernel_size: int, hardness: float, metric: Metric = "l1"
) -> Tensor:
    """Filter under the mask of an embedding, which is computed here."""
    distances = embedding_distance(embedding, kernel_size, padding="same", metric=metric)
    return segaware_filter2d(input, attention_mask(distances, hardness), kernel_size)
