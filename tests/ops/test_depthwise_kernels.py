"""The Numba kernels of segaware_conv2d with one filter per channel, against its reference."""

from collections.abc import Callable
from functools import partial
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from segaware import segaware_conv2d
from segaware.ops.convolution import library
from segaware.ops.window import Window

from .random_windows import RandomWindow, random_windows, repeatable
from .test_convolution import NORMALIZE, Normalize, random_arguments
from .test_convolution_kernels import random_tensors, results, same_as_reference

pytestmark = [
    pytest.mark.usefixtures("uninitialised_is_nan"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]

formats = {False: torch.contiguous_format, True: torch.channels_last}


@pytest.mark.parametrize("channels, filters, groups", [(6, 6, 6), (1, 1, 1), (6, 12, 6), (6, 6, 3)])
def test_only_one_filter_per_channel_takes_this_path(
    channels: int, filters: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segaware.ops.convolution._numba import depthwise

    kernels = [Mock(wraps=depthwise.forward), Mock(wraps=depthwise.backward)]
    monkeypatch.setattr(depthwise, "forward", kernels[0])
    monkeypatch.setattr(depthwise, "backward", kernels[1])
    same_as_reference(random_tensors((1, channels, 4, 5), filters, 3, groups), groups=groups)
    assert [kernel.called for kernel in kernels] == [channels == filters == groups > 1] * 2


@settings(repeatable, max_examples=100)
@given(
    random_windows(), st.integers(0, 2), st.integers(2, 40), st.booleans(), st.booleans(), st.sampled_from(NORMALIZE)
)
@example(RandomWindow((3, 3), {"stride": 1, "padding": 1, "dilation": 1}, (1, 1)), 1, 2, False, True, "mean")
@example(RandomWindow((5, 5), {"stride": 1, "padding": "same", "dilation": 9}, (3, 4)), 1, 17, True, False, "sum")
def test_random_windows(
    window: RandomWindow, batch: int, channels: int, single: bool, channels_last: bool, normalize: Normalize
) -> None:
    tensors = random_arguments(window, batch, channels, 1, 1)
    input, *others = (t.float() for t in tensors) if single else tensors
    input = input.contiguous(memory_format=formats[channels_last])
    same_as_reference([input, *others], **window.geometry, groups=channels, normalize=normalize)


@pytest.mark.parametrize(
    "channels, size, kernel_size, dilation, images",
    [
        (128, (20, 33), 3, 1, 1),  # blocks of four vectors
        (127, (9, 8), 5, 1, 2),  # and of all that is narrower
        (400, (9, 8), 7, 1, 1),  # few bands of rows: channels split over tasks
        (100, (9, 30), 3, 7, 3),  # taps that see no pixel of a band
        (33, (5, 4), 3, 1, 20),  # many images: each is one band
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sizes_that_split_differently(
    channels: int, size: tuple[int, int], kernel_size: int, dilation: int, images: int, dtype: torch.dtype
) -> None:
    geometry = {"padding": dilation * (kernel_size // 2), "dilation": dilation}
    tensors = random_tensors((images, channels, *size), channels, kernel_size, channels, dtype, **geometry)
    same_as_reference(tensors, **geometry, groups=channels)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size, dilation", [(1, 1), (2, 1), (5, 3), (7, 1)])
def test_bands_of_rows_do_not_meet(
    stride: int, kernel_size: int, dilation: int, with_threads: Callable[..., list[Tensor]]
) -> None:
    """The gradient of the input is scattered by up to 16 bands of rows, every other one at once."""
    geometry = {"stride": stride, "padding": dilation * (kernel_size // 2), "dilation": dilation}
    tensors = random_tensors((1, 3, 97, 5), 3, kernel_size, 3, **geometry)
    same_as_reference(tensors, **geometry, groups=3)
    run = partial(segaware_conv2d, **geometry, groups=3, backend="numba")
    one, two = (with_threads(threads, lambda: results(tensors, run)) for threads in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_memory_layouts(relayout: Callable[[Tensor], Tensor]) -> None:
    input, weight, mask, bias = random_tensors((2, 18, 20, 21), 18, 3, 18, padding=1)
    run = partial(segaware_conv2d, padding=1, groups=18)
    expected = results([input, weight, mask, bias], partial(run, backend="reference"))
    for which in range(8):
        tensors = [relayout(t) if which & 1 << i else t for i, t in enumerate((input, weight, mask))]
        actual = results([*tensors, bias], partial(run, backend="numba"))
        for a, b in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [(9, 8), (1, 1)])
def test_the_output_has_the_format_that_conv2d_gives(channels_last: bool, size: tuple[int, int]) -> None:
    input, weight, mask, bias = random_tensors((2, 18, *size), 18, 3, 18, padding=1)
    input = input.contiguous(memory_format=formats[channels_last])
    output = segaware_conv2d(input, weight, mask, bias, padding=1, groups=18, backend="numba")
    expected = F.conv2d(input, weight, bias, padding=1, groups=18)
    assert output.is_contiguous(memory_format=torch.channels_last) == expected.is_contiguous(
        memory_format=torch.channels_last
    )
    assert output.is_contiguous() == expected.is_contiguous()


@pytest.mark.parametrize("shape, kernel_size", [((2, 20, 70, 41), 3), ((1, 400, 12, 12), 7), ((9, 48, 6, 5), 3)])
def test_the_number_of_threads_changes_nothing(
    shape: tuple[int, int, int, int], kernel_size: int, with_threads: Callable[..., list[Tensor]]
) -> None:
    tensors = random_tensors(shape, shape[1], kernel_size, shape[1], padding=1)
    run = partial(segaware_conv2d, padding=1, groups=shape[1], backend="numba")
    one, *others = (with_threads(threads, lambda: results(tensors, run)) for threads in (1, 2, 5))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("wanted", range(4))
def test_one_gradient_at_a_time(wanted: int) -> None:
    tensors = random_tensors((1, 4, 6, 7), 4, 3, 4, torch.float64, padding=1)
    tensors[wanted].requires_grad_()
    grads = []
    for backend in ("reference", "numba"):
        output = segaware_conv2d(*tensors, padding=1, groups=4, backend=backend)  # type: ignore[misc, arg-type]
        grads += torch.autograd.grad(output.square().sum(), tensors[wanted])
    torch.testing.assert_close(*grads)


def test_what_the_operator_says_of_its_results_is_true() -> None:
    for channels_last in (False, True):
        tensors = random_tensors((2, 18, 5, 6), 18, 3, 18, padding=1)
        tensors[0] = tensors[0].contiguous(memory_format=formats[channels_last])
        window = Window.of(3, padding=1).numbers()
        leaves = [t.requires_grad_() for t in tensors]
        torch.library.opcheck(library.conv2d, (*leaves, window, 18, "mean", "numba"))
