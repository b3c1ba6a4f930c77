"""Resampling that keeps pixels where strided layers put them."""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

_POWERS = tuple(2**i for i in range(8))  # strides, of which no two give the same length, if that is above 1


def sampled_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return the (height, width) that sampling `[::stride, ::stride]` leaves: how often the stride fits, rounded up.

    Written as convolutions and poolings count, so that compilers know these sizes for the same whatever the image's,
    and without negative numbers, whose quotients ONNX rounds the other way.

    Example:
        >>> from segaware.nn.resampling import sampled_size
        >>> sampled_size((5, 8), stride=4)
        (2, 2)
    """
    height, width = ((length - 1) // stride + 1 for length in size)
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
    return resample(input, Fraction(stride), size)


def resample(input: Tensor, scale: Fraction, size: tuple[int, int] | None = None) -> Tensor:
    """Bilinear resampling where output pixel (i, j) is what lies at (i / scale, j / scale) in the input.

    No average is taken: scale 1/2 is `[::2, ::2]`. Beyond the last input pixel its value is repeated.

    Args:
        input: Features (N, C, h, w).
        scale: Output pixels per input pixel.
        size: Output (height, width), at most a step beyond the input; None takes the pixels that lie in it.

    Returns:
        Resampled features (N, C, height, width).

    Example:
        >>> from fractions import Fraction
        >>> resample(torch.tensor([[[[0.0, 3.0, 6.0, 9.0]]]]), Fraction(3, 4))
        tensor([[[[0., 4., 8.]]]])
    """
    up, down = scale.numerator, scale.denominator
    height, width = input.shape[-2:]
    if scale == 1:
        return input
    # align_corners over down * n + 1 pixels onto up * n + 1 puts input pixel down * i on output pixel up * i.
    rows, columns = sampled_size((height, width), down)
    padding = (0, down * columns + 1 - width, 0, down * rows + 1 - height)
    padded = F.pad(input, padding, mode="replicate")
    full = F.interpolate(padded, (up * rows + 1, up * columns + 1), mode="bilinear", align_corners=True)
    height, width = size or ((height - 1) * up // down + 1, (width - 1) * up // down + 1)
    return full[..., :height, :width]


def at_stride(input: Tensor, stride: int, wanted: int, image: Tensor) -> Tensor:
    """Return features at another stride to the image, upsampled or sampled, where they lie as in `upsample`.

    Args:
        input: Features (N, C, ceil(H / stride), ceil(W / stride)).
        stride: Their stride.
        wanted: The stride to have them at.
        image: What they are of, (N, 3, H, W), for its size.

    Returns:
        Features (N, C, ceil(H / wanted), ceil(W / wanted)).
    """
    if wanted % stride == 0:
        step = wanted // stride
        return input[..., ::step, ::step]
    size = (image.shape[-2], image.shape[-1])
    if stride % wanted == 0:
        return upsample(input, stride // wanted, sampled_size(size, wanted))
    return upsample(input, stride, size)[..., ::wanted, ::wanted]


def sample(input: Tensor, size: tuple[int, int]) -> Tensor:
    """Pick pixels of a map for a smaller one that shows the same image.

    Along each side every s-th pixel, `[::s]`, if there is a stride s that gives the length, as layers with padding do:
    of several, a power of two or the smallest. Else the pixels under the centres of the smaller map's.

    Args:
        input: A map (N, C, H, W).
        size: Height and width of the smaller map.

    Returns:
        The map (N, C, *size).

    Example:
        >>> from segaware.nn.resampling import sample
        >>> row = torch.arange(9.0).view(1, 1, 1, 9)
        >>> sample(row, (1, 5)), sample(row, (1, 4))
        (tensor([[[[0., 2., 4., 6., 8.]]]]), tensor([[[[1., 3., 5., 7.]]]]))
    """
    return _sample_side(_sample_side(input, 2, size[0]), 3, size[1])


def same_length(a: int, b: int) -> bool:
    """Tell whether two lengths are equal; in a program for many sizes of images, whether they are for every one.

    A compiled or exported program would hold for those sizes only for which a usual question had this answer.
    """
    if not torch.compiler.is_compiling():
        return a == b
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # loads the compiler

    return statically_known_true(a == b)


def stride_between(full: int, length: int) -> int | None:
    """Return the stride at which a side of `full` pixels leaves `length`, by the rule of `sample`, or None.

    In a program for many sizes of images, it is one that does so for all of them.
    """
    strides = _POWERS if torch.compiler.is_compiling() else (*_POWERS, _smallest_stride(full, length))
    return next((s for s in strides if same_length(sampled_size((full, full), s)[0], length)), None)


def _smallest_stride(full: int, length: int) -> int:
    return (full + length - 1) // length


def _sample_side(input: Tensor, dim: int, length: int) -> Tensor:
    full = input.shape[dim]
    stride = stride_between(full, length)
    if stride is not None:
        return input if stride == 1 else input[(slice(None),) * dim + (slice(None, None, stride),)]
    chosen = _centres(full, length, input.device)
    if torch.compiler.is_compiling():  # arithmetic finds the sizes that have a stride
        for stride in (_smallest_stride(full, length), *reversed(_POWERS)):
            strided = torch.arange(length, device=input.device) * stride
            beyond = sampled_size((full, full), stride)[0] - length
            chosen = torch.where(strided * 0 + beyond == 0, strided, chosen)
    return input.index_select(dim, chosen)


def _centres(full: int, length: int, device: torch.device) -> Tensor:
    return (2 * torch.arange(length, device=device) + 1) * full // (2 * length)
