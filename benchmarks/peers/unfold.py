"""The formulation of pacnet and ConvCRF: unfold the windows into columns, multiply by the mask, and sum or matmul."""

import torch
import torch.nn.functional as F
from torch import Tensor


def _columns(input: Tensor, kernel_size: int, dilation: int) -> Tensor:
    columns = F.unfold(input, kernel_size, dilation, padding=dilation * (kernel_size // 2))
    return columns.unflatten(1, (input.shape[1], kernel_size**2))  # (N, C, K, H * W)


def convolution(input: Tensor, weight: Tensor, mask: Tensor, dilation: int) -> Tensor:
    """Convolve under a mask, divided by its mean."""
    masked = _columns(input, weight.shape[-1], dilation) * mask.flatten(2)[:, None]
    output = weight.flatten(1) @ masked.flatten(1, 2)
    return output.unflatten(2, input.shape[2:]) / mask.mean(1, keepdim=True)


def distance(embedding: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """Compare every pixel's embedding with its window: L1, 0 for taps outside the image."""
    difference = _columns(embedding, kernel_size, dilation) - embedding.flatten(2)[:, :, None]
    return difference.abs().sum(1).unflatten(2, embedding.shape[2:]) * _inside(embedding, kernel_size, dilation)


def _inside(image: Tensor, kernel_size: int, dilation: int) -> Tensor:
    return _columns(torch.ones_like(image[:1, :1]), kernel_size, dilation)[:, 0].unflatten(2, image.shape[2:])


def bilateral_filter(input: Tensor, embedding: Tensor, kernel_size: int, hardness: float) -> Tensor:
    """Filter under the mask of an embedding; taps outside the image are left out."""
    mask = torch.exp(-hardness * distance(embedding, kernel_size, 1)) * _inside(embedding, kernel_size, 1)
    masked = _columns(input, kernel_size, 1) * mask.flatten(2)[:, None]
    return masked.sum(2).unflatten(2, input.shape[2:]) / mask.sum(1, keepdim=True)
