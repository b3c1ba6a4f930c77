"""Weighted median of windows: the contract."""

from __future__ import annotations

from torch import Tensor

from segaware.ops._backends import Backend, choose_backend
from segaware.ops.arguments import check_devices, check_image, check_iterations, check_mask, compute_dtype, is_number
from segaware.ops.median import library, reference
from segaware.ops.window import IntPair, Window

_MISSING = {"triton": "segaware_median2d has no GPU kernel"}


def segaware_median2d(
    input: Tensor,
    mask: Tensor,
    kernel_size: IntPair,
    dilation: IntPair = 1,
    iterations: int = 1,
    center_weight: float = 0.0,
    backend: Backend | None = None,
) -> Tensor:
    """Weighted median of every window: the least x_l in it with sum_k m_ik [x_k <= x_l] >= sum_k m_ik / 2.

    For values, such as flow and depth, whose mean over two sides of a border is that of neither: as long as the
    pixel's own side has more than half of the weight, the median is a value of that side. It minimises
    sum_k m_ik |x_k - y_i|, as the weighted median that Sun, Roth and Black ("Secrets of Optical Flow Estimation and
    Their Principles", CVPR 2010) apply to flow.

    Args:
        input: What to filter, (N, C, H, W) or (C, H, W), each channel on its own. NaN stands for what is not known: it
            has no weight.
        mask: Mask (N, K, H, W), 0 or more, with K taps in the order of `F.unfold`, usually
            `attention_mask(embedding_distance(..., padding="same"), hardness)`; (K, H, W) for one image. Taps outside
            the image have no weight, whatever it says.
        kernel_size: Window size, an int or (vertical, horizontal).
        dilation: Step between taps.
        iterations: How often the filter is applied, each time with the same mask; widens its reach.
        center_weight: What the centre tap weighs on top, times the sum of the window's weights: a pixel keeps its value
            unless that is far from the middle of what the window holds. So slopes, corners and thin parts stay as they
            are (Ko and Lee, "Center Weighted Median Filters and Their Applications to Image Enhancement", 1991). 1 and
            more change nothing, in windows with a tap in the middle.
        backend: "reference", "numba", or None for what `use_backend` chose, by default the fastest for the device.
            There is no GPU kernel: there the reference runs.

    Returns:
        The medians, values of `input` with its shape and dtype, NaN where no weight is. Weights in half precision are
        summed in float32. The gradient of a median is that of the first tap which has the value; the mask has none,
        for a small change of it changes nothing.

    Raises:
        ValueError: If a shape, dtype, device or option does not fit; the message names the argument.
        TypeError: If what must be a tensor is none.
        RuntimeError: If the backend that was asked for cannot run here.

    Example:
        >>> blurred = torch.tensor([[[[0.0, 0.0, 0.4, 1.0, 1.0, 1.0]]]])
        >>> segaware_median2d(blurred, torch.ones(1, 5, 1, 6), (1, 5))
        tensor([[[[0.0000, 0.0000, 0.4000, 1.0000, 1.0000, 1.0000]]]])
        >>> image = torch.tensor([[[[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]]])
        >>> mask = attention_mask(embedding_distance(image, (1, 5), padding="same"), hardness=10.0)
        >>> segaware_median2d(blurred, mask, (1, 5))
        tensor([[[[0., 0., 0., 1., 1., 1.]]]])
    """
    check_image("input", input)
    iterations = check_iterations(iterations)
    window = Window.of(kernel_size, padding="same", dilation=dilation)
    check_mask(mask, (*input.shape[:-3], window.size, *input.shape[-2:]))
    check_devices(input=input, mask=mask)
    if not (is_number(center_weight) and center_weight >= 0):
        raise ValueError(f"center_weight must be a number, 0 or more, got {center_weight!r}")
    window = window.within(input)
    chosen = choose_backend(backend, input.device, _MISSING)

    output, batch_mask = (t.to(compute_dtype(input)) for t in (input, mask))
    if input.dim() == 3:
        output, batch_mask = output[None], batch_mask[None]
    if chosen == "reference":
        output = reference.segaware_median2d(output, batch_mask, window, iterations, center_weight)
    else:
        for _ in range(iterations):
            output, _ = library.median2d(output, batch_mask, window.numbers(), float(center_weight), chosen)
    output = output.to(input.dtype)
    return output if input.dim() == 4 else output[0]
