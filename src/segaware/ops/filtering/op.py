"""Segmentation-aware bilateral filter: the contract."""

from __future__ import annotations

from typing import get_args

from torch import Tensor

from segaware.ops._backends import Backend, choose_backend
from segaware.ops.arguments import check_devices, check_image, check_iterations, check_mask, compute_dtype
from segaware.ops.filtering import library, reference
from segaware.ops.filtering.reference import Border
from segaware.ops.window import IntPair, Window


def segaware_filter2d(
    input: Tensor,
    mask: Tensor,
    kernel_size: IntPair,
    dilation: IntPair = 1,
    iterations: int = 1,
    border: Border = "exclude",
    backend: Backend | None = None,
) -> Tensor:
    """Segmentation-aware bilateral filter, y_i = sum_k x_k m_ik / sum_k m_ik, Eq. 4 of Harley et al. 2017.

    Every pixel becomes the mean of its window, weighted by its mask. With a constant embedding this is the average
    filter, with positions as embedding Gaussian smoothing (`metric="sqeuclidean"`), with positions and colour the
    classic bilateral filter.

    Args:
        input: What to filter, (N, C, H, W) or (C, H, W), any number of channels.
        mask: Mask (N, K, H, W) with K taps in the order of `F.unfold`, usually
            `attention_mask(embedding_distance(..., padding="same"), hardness)`; (K, H, W) for one image.
        kernel_size: Window size, an int or (vertical, horizontal).
        dilation: Step between taps.
        iterations: How often the filter is applied, each time with the same mask; widens its reach.
        border: "exclude" leaves taps outside the image out of both sums, so that nothing fades towards the border;
            "zero" counts them with value 0, as the authors' release.
        backend: "reference", "numba", "triton", or None for what `use_backend` chose, by default the fastest for the
            device.

    Returns:
        The filtered image, with the shape and dtype of `input`. Half precisions are accumulated in float32. The image
        is padded as conv2d's "same": an even window reaches one tap further to the bottom and the right. A window whose
        counted taps have masks that sum to 0 has no mean and gives NaN.

    Raises:
        ValueError: If a shape, dtype, device or option does not fit; the message names the argument.
        TypeError: If what must be a tensor is none.
        RuntimeError: If the backend that was asked for cannot run here.

    Example:
        >>> step = torch.tensor([[[[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]]])
        >>> mask = attention_mask(embedding_distance(step, (1, 3), padding="same"), hardness=10.0)
        >>> segaware_filter2d(step, mask, (1, 3)).round(decimals=3)
        tensor([[[[0., 0., 0., 1., 1., 1.]]]])
    """
    check_image("input", input)
    if border not in get_args(Border):
        raise ValueError(f"border must be one of {get_args(Border)}, got {border!r}")
    iterations = check_iterations(iterations)
    window = Window.of(kernel_size, padding="same", dilation=dilation)
    check_mask(mask, (*input.shape[:-3], window.size, *input.shape[-2:]))
    check_devices(input=input, mask=mask)
    window = window.within(input)
    chosen = choose_backend(backend, input.device)

    dtype = compute_dtype(input)
    if chosen == "triton" and iterations == 1 and mask.dtype in (input.dtype, dtype):
        output, batch_mask = input, mask  # its kernels read half precisions
    else:
        output, batch_mask = input.to(dtype), mask.to(dtype)
    if input.dim() == 3:
        output, batch_mask = output[None], batch_mask[None]
    if chosen == "reference":
        output = reference.segaware_filter2d(output, batch_mask, window, iterations, border)
    else:
        for _ in range(iterations):
            output, _ = library.filter2d(output, batch_mask, window.numbers(), border, chosen)
    output = output.to(input.dtype)
    return output if input.dim() == 4 else output[0]
