"""Upsampling that keeps pixels where strided layers put them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def sampled_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return the (height, width) that sampling `[::stride, ::stride]` leaves: how often the stride fits, rounded up.

    Written without negative numbers, whose quotients ONNX rounds the other way.

    Example:
        >>> from segaware.nn.resampling import sampled_size
        >>> sampled_size((5, 8), stride=4)
        (2, 2)
    """
    height, width = ((length + stride - 1) // stride for length in size)
    return height, width


def upsample(input: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Bilinear upsampling where input pixel (i, j) lies at output pixel (stride * i, stride * j).

    The opposite of sampling `[::stride, ::stride]`, which is what a 3x3 convolution or pooling with padding 1 and that
    stride does; the authors' "Interp" layer for sizes of the form stride * n + 1. Beyond the last input pixel its
    value is repeated.

    Args:
        input: Features (N, C, h, w), with h = ceil(height / stride) and w likewise.
        stride: How many output pixels lie between two input pixels.
        size: Output (height, width).

    Returns:
        Upsampled features (N, C, height, width).

    Raises:
        ValueError: If `input` does not have the size that sampling `size` at `stride` gives.

    Example:
        >>> upsample(torch.tensor([[[[0.0, 2.0]]]]), stride=2, size=(1, 4))
        tensor([[[[0., 1., 2., 2.]]]])
    """
    height, width = size
    if tuple(input.shape[-2:]) != sampled_size(size, stride):
        raise ValueError(
            f"input must have size {sampled_size(size, stride)} to be upsampled by {stride} to {(height, width)}, "
            f"got {tuple(input.shape[-2:])}"
        )
    if stride == 1:
        return input
    padded = F.pad(input, (0, 1, 0, 1), mode="replicate")
    # align_corners over n + 1 pixels onto stride * n + 1 puts every input pixel on a multiple of the stride.
    full = (input.shape[-2] * stride + 1, input.shape[-1] * stride + 1)
    return F.interpolate(padded, full, mode="bilinear", align_corners=True)[..., :height, :width]
