"""The Triton kernels of segaware_filter2d against its reference."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from segaware import segaware_filter2d
from segaware.ops.filtering import library
from segaware.ops.window import Window

from ..random_windows import Pair, pairs
from ..test_filtering_kernels import BORDERS, Border
from .comparison import DEVICE, few, positive_numbers, random_numbers, results, same_as_reference

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def compare(tensors: list[Tensor], **options: Any) -> None:
    same_as_reference(lambda x, m, backend: segaware_filter2d(x, m, **options, backend=backend), tensors)


def arguments(batch: int, channels: int, height: int, width: int, taps: int) -> list[Tensor]:
    """An input and a mask."""
    return [random_numbers(batch, channels, height, width), positive_numbers(batch, taps, height, width)]


@few
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    pairs(1, 3),
    st.integers(1, 2),
    st.sampled_from(BORDERS),
    st.sampled_from(DTYPES),
)
@example((1, 2, 1, 1), (3, 3), 1, 1, "exclude", torch.float64)  # one pixel
@example((1, 3, 3, 4), (9, 9), 9, 2, "zero", torch.float64)  # a window beyond the image
@example((2, 1, 5, 1), (5, 1), 1, 1, "exclude", torch.float32)  # one column
def test_random_windows(
    shape: tuple[int, int, int, int],
    kernel_size: tuple[int, int],
    dilation: Pair,
    iterations: int,
    border: Border,
    dtype: torch.dtype,
) -> None:
    tensors = [t.to(dtype) for t in arguments(*shape, kernel_size[0] * kernel_size[1])]
    compare(tensors, kernel_size=kernel_size, dilation=dilation, iterations=iterations, border=border)


@pytest.mark.parametrize("border", BORDERS)
def test_several_blocks(border: Border) -> None:
    # 42 pixels and 33 channels: two blocks of both; 20 taps: two blocks of them for the mask's gradient
    compare(arguments(1, 33, 6, 7, 20), kernel_size=(4, 5), dilation=(1, 2), border=border)


@pytest.mark.parametrize("border", BORDERS)
def test_offsets_of_64_bits(border: Border, wide_offsets: Callable[[], None]) -> None:
    wide_offsets()
    compare(arguments(2, 5, 7, 6, 9), kernel_size=3, border=border)


def test_a_float32_mask_of_a_half_precision_image() -> None:
    input, mask = arguments(1, 4, 5, 6, 9)
    compare([input.half(), mask], kernel_size=3)


def test_memory_layouts(relayout: Callable[[Tensor], Tensor]) -> None:
    input, mask = arguments(2, 4, 6, 5, 9)
    for other in (relayout(input), input[:1].expand(2, -1, -1, -1)):
        compare([other, relayout(mask)], kernel_size=3)


@pytest.mark.parametrize("wanted", range(2))
def test_one_gradient_at_a_time(wanted: int) -> None:
    grads = []
    for backend in ("reference", "triton"):
        tensors = arguments(1, 3, 6, 7, 9)
        tensors[wanted].requires_grad_()
        output = segaware_filter2d(*tensors, 3, iterations=2, backend=backend)  # type: ignore[arg-type]
        grads += torch.autograd.grad(output.square().sum(), tensors[wanted])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("border", BORDERS)
def test_a_mask_that_sums_to_zero_gives_nan(border: Border) -> None:
    input, mask = arguments(1, 2, 7, 7, 9)
    mask[0, :, 3, 3] = 0
    run = partial(segaware_filter2d, kernel_size=3, border=border, backend="triton")
    output, grad_input, grad_mask = results(run, [input, mask])
    assert output[..., 3, 3].isnan().all() and output.isnan().sum() == 2
    # So are the gradients of all that went into it, and of nothing else.
    assert grad_input[..., 2:5, 2:5].isnan().all() and grad_input.isnan().sum() == 2 * 9
    assert grad_mask[..., 3, 3].isnan().all() and grad_mask.isnan().sum() == 9


def test_an_empty_batch() -> None:
    run = partial(segaware_filter2d, kernel_size=3, backend="triton")
    output, grad_input, grad_mask = results(run, arguments(0, 4, 5, 6, 9))
    assert output.shape == grad_input.shape == (0, 4, 5, 6) and grad_mask.shape == (0, 9, 5, 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operator_is_registered_properly(dtype: torch.dtype) -> None:
    tensors = [t.to(dtype).requires_grad_() for t in arguments(2, 3, 4, 5, 6)]
    window = Window.of((3, 2), padding="same").numbers()
    # In half precision the sum of the mask, which has no gradient, is float32.
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(library.filter2d, (*tensors, window, "zero", "triton"), test_utils=tests)
    assert DEVICE in str(tensors[0].device)
