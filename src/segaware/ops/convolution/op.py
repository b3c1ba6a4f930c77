"""Segmentation-aware convolution: the contract."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from segaware.ops._autocast import autocast_enabled
from segaware.ops._backends import Backend, choose_backend
from segaware.ops.arguments import as_integer, check_devices, check_image, check_mask, check_tensor, compute_dtype
from segaware.ops.convolution import library, reference
from segaware.ops.convolution.reference import Normalize
from segaware.ops.window import IntPair, Padding, Window


def segaware_conv2d(
    input: Tensor,
    weight: Tensor,
    mask: Tensor,
    bias: Tensor | None = None,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    normalize: Normalize = "mean",
    backend: Backend | None = None,
) -> Tensor:
    """Segmentation-aware convolution, y_i = sum_k x_k m_ik t_k / sum_k m_ik, Eq. 7 of Harley et al. 2017.

    `torch.nn.functional.conv2d` with a mask per output pixel: where the mask is constant the two are equal (with
    `normalize="mean"`), and where the filter is all ones the result is the segmentation-aware bilateral filter of
    Eq. 4 (with `normalize="sum"`). Taps outside the image have value 0 and the mask that is given for them.

    Args:
        input: Image (N, C, H, W) or (C, H, W).
        weight: Filters (F, C / groups, kh, kw), of the dtype of `input`.
        mask: Mask (N, K, Ho, Wo) with K = kh * kw taps in the order of `F.unfold`, usually
            `attention_mask(embedding_distance(...), hardness)` with the same window; (K, Ho, Wo) for one image.
        bias: One value per filter (F,), added after the division.
        stride: Step between output pixels.
        padding: Zero padding, or "same" or "valid".
        dilation: Step between taps.
        groups: Number of groups that channels and filters are split into.
        normalize: "mean" divides by the mean of the window's mask, so that trained filters keep their scale; "sum" is
            Eq. 7 as printed; "none" does not divide, as the authors' released VGG network. A window whose mask sums
            to 0 has no normalised value and gives NaN; masks from `attention_mask` are 1 at the centre.
        backend: "reference", "numba", "triton", or None for what `use_backend` chose, by default the fastest for the
            device.

    Returns:
        The output (N, F, Ho, Wo), or (F, Ho, Wo) for one image, with the dtype of `input`, or under autocast that of
        autocast, as `conv2d`. Half precisions are accumulated in float32.

    Raises:
        ValueError: If a shape, dtype, device or option does not fit; the message names the argument. There must be at
            least one channel and one filter.
        TypeError: If what must be a tensor is none.
        RuntimeError: If the backend that was asked for cannot run here.

    Example:
        >>> input, weight = torch.randn(1, 8, 20, 20), torch.randn(16, 8, 3, 3)
        >>> mask = attention_mask(embedding_distance(input, 3, padding=1), hardness=0.5)
        >>> segaware_conv2d(input, weight, mask, padding=1).shape
        torch.Size([1, 16, 20, 20])
    """
    check_image("input", input)
    groups = _check_filters(input, weight, bias, groups)
    if normalize not in get_args(Normalize):
        raise ValueError(f"normalize must be one of {get_args(Normalize)}, got {normalize!r}")
    window = Window.of((weight.shape[2], weight.shape[3]), stride, padding, dilation)
    check_mask(mask, (*input.shape[:-3], window.size, *window.output_size(input)))
    check_devices(input=input, weight=weight, mask=mask, bias=bias)
    window = window.within(input)

    chosen = choose_backend(backend, input.device)

    if input.dtype != torch.float64 and autocast_enabled(input.device.type):
        input = input.to(torch.get_autocast_dtype(input.device.type))
    # The kernels of Triton read half precisions.
    dtype = input.dtype if chosen == "triton" else compute_dtype(input)
    mask = mask if mask.dtype == dtype else mask.to(compute_dtype(input))
    batch, batch_mask = (input, mask) if input.dim() == 4 else (input[None], mask[None])
    tensors = batch.to(dtype), weight.to(dtype), batch_mask, None if bias is None else bias.to(dtype)
    if chosen == "reference":
        output = reference.segaware_conv2d(*tensors, window, groups, normalize)
    else:
        output = library.conv2d(*tensors, window.numbers(), groups, normalize, chosen)
    output = output.to(input.dtype)
    return output if input.dim() == 4 else output[0]


def _check_filters(input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> int:
    channels = input.shape[-3]
    number = as_integer(groups)
    if number is None or number < 1 or channels % number:
        raise ValueError(f"groups must be a positive int that divides the {channels} channels, got {groups!r}")

    wanted = f"a floating-point tensor of shape (F, {channels // number}, kh, kw)"
    check_tensor("weight", weight, wanted)
    filters, inputs = weight.shape[:2] if weight.dim() == 4 else (0, 0)
    if filters == 0 or filters % number or inputs != channels // number:
        raise ValueError(
            f"weight must have shape (F, {channels // number}, kh, kw) for an input with {channels} channels and "
            f"groups={number}, F a multiple of groups, got {tuple(weight.shape)}"
        )
    # Under autocast parameters stay in float32 beside a half-precision input, as for conv2d.
    if weight.dtype != input.dtype and not autocast_enabled(input.device.type):
        raise ValueError(f"weight must have the dtype of input, {input.dtype}, got {weight.dtype}")
    if bias is not None:
        check_tensor("bias", bias, f"None or a floating-point tensor of shape ({weight.shape[0]},)")
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}")
    return number
