"""Resampling that keeps pixels where strided layers put them."""

from __future__ import annotations

from fractions import Fraction

import torch.nn.functional as F
from torch import Tensor


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
    if tuple(input.shape[-2:]) != (-(-height // stride), -(-width // stride)):
        raise ValueError(
            f"input must have size {(-(-height // stride), -(-width // stride))} to be upsampled by {stride} to "
            f"{(height, width)}, got {tuple(input.shape[-2:])}"
        )
    return resample(input, Fraction(stride), size)


def resample(input: Tensor, scale: Fraction, size: tuple[int, int] | None = None) -> Tensor:
    """Bilinear resampling where output pixel (i, j) is what lies at (i / scale, j / scale) in the input.

    No average is taken: scale 1/2 is `[::2, ::2]`. Beyond the last input pixel its value is repeated.

    Args:
        input: Features (N, C, h, w).
        scale: Output pixels per input pixel.
        size: Output (height, width); None takes the pixels that lie in the input.

    Returns:
        Resampled features (N, C, height, width).

    Example:
        >>> from fractions import Fraction
        >>> resample(torch.tensor([[[[0.0, 3.0, 6.0, 9.0]]]]), Fraction(3, 4))
        tensor([[[[0., 4., 8.]]]])
    """
    up, down = scale.numerator, scale.denominator
    before = (input.shape[-2], input.shape[-1])
    after = size or tuple((n - 1) * up // down + 1 for n in before)
    if before == after and scale == 1:
        return input
    # align_corners over down * n + 1 pixels onto up * n + 1 puts input pixel down * i on output pixel up * i.
    rows, columns = (max(-(-(b - 1) // down), -(-(a - 1) // up)) for b, a in zip(before, after, strict=True))
    padding = (0, down * columns + 1 - before[1], 0, down * rows + 1 - before[0])
    padded = F.pad(input, padding, mode="replicate")
    full = F.interpolate(padded, (up * rows + 1, up * columns + 1), mode="bilinear", align_corners=True)
    return full[..., : after[0], : after[1]]
