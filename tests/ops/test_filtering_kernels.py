"""The Numba kernels of segaware_filter2d against its reference."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from segaware import segaware_filter2d
from segaware.ops._backends import Backend
from segaware.ops.filtering import library
from segaware.ops.window import Window

from .random_windows import Pair, pairs, repeatable

pytestmark = pytest.mark.usefixtures("uninitialised_is_nan")

Border = Literal["exclude", "zero"]
BORDERS: tuple[Border, ...] = ("exclude", "zero")


def random_arguments(
    batch: int, channels: int, height: int, width: int, taps: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """An input and a mask."""
    random = torch.Generator().manual_seed(0)
    input = torch.randn(batch, channels, height, width, generator=random).to(dtype)
    return input, (torch.rand(batch, taps, height, width, generator=random) + 0.1).to(dtype)


def results(input: Tensor, mask: Tensor, backend: Backend | None, **options: Any) -> list[Tensor]:
    """The output and the gradients of input and mask."""
    leaves = [tensor.detach().requires_grad_() for tensor in (input, mask)]
    output = segaware_filter2d(*leaves, **options, backend=backend)
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, leaves, grad)]


def same_as_reference(input: Tensor, mask: Tensor, **options: Any) -> None:
    actual = results(input, mask, "numba", **options)
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}[input.dtype]
    expected = results(input.double(), mask.double(), "reference", **options)
    if expected[0].isnan().any():  # of a window without a pixel; what it gives to its taps means nothing
        actual, expected = actual[:1], expected[:1]
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance, equal_nan=True)


@settings(repeatable, max_examples=200)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 19), st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    pairs(1, 3),
    st.integers(1, 2),
    st.sampled_from(BORDERS),
    st.sampled_from([torch.float32, torch.float64]),
)
@example((1, 2, 1, 1), (3, 3), 1, 1, "exclude", torch.float64)  # one pixel
@example((1, 3, 3, 4), (13, 13), 9, 2, "zero", torch.float64)  # a window beyond the image
@example((2, 1, 5, 1), (5, 1), 1, 1, "exclude", torch.float32)  # one column
def test_random_windows(
    shape: tuple[int, int, int, int],
    kernel_size: tuple[int, int],
    dilation: Pair,
    iterations: int,
    border: Border,
    dtype: torch.dtype,
) -> None:
    input, mask = random_arguments(*shape, kernel_size[0] * kernel_size[1], dtype)
    same_as_reference(input, mask, kernel_size=kernel_size, dilation=dilation, iterations=iterations, border=border)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(
    ("shape", "kernel_size", "dilation"),
    [
        ((2, 5, 70, 41), 3, 1),
        ((1, 4, 37, 600), (5, 3), 2),
        ((1, 3, 50, 41), (4, 6), 3),  # what a pixel sees reaches further to the bottom and the right
        ((1, 2, 40, 30), 15, 4),  # rows of taps that see nothing from the top or the bottom
    ],
)
def test_many_tasks(shape: tuple[int, int, int, int], kernel_size: Pair, dilation: int, border: Border) -> None:
    taps = Window.of(kernel_size).size
    same_as_reference(*random_arguments(*shape, taps), kernel_size=kernel_size, dilation=dilation, border=border)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("channels", "width"), [(1, 49), (2, 47), (3, 48), (4, 15), (5, 16), (7, 17), (8, 97), (9, 24), (17, 31)]
)
def test_rows_and_channels_that_do_not_fill_tiles(channels: int, width: int, dtype: torch.dtype) -> None:
    """A tile has 8 rows, of channels or of taps, or 4; and 3 vectors of up to 16 pixels, or 1 where a row ends."""
    same_as_reference(*random_arguments(1, channels, 6, width, 15, dtype), kernel_size=(3, 5), dilation=(2, 3))


def test_bfloat16_is_computed_in_float32() -> None:
    same_as_reference(*random_arguments(1, 4, 9, 8, 49, torch.bfloat16), kernel_size=7)


def test_memory_layouts(relayout: Callable[[Tensor], Tensor]) -> None:
    input, mask = random_arguments(2, 4, 10, 11, 9)
    for other in (relayout(input), input[:1].expand(2, -1, -1, -1)):
        same_as_reference(other, relayout(mask), kernel_size=3)


@pytest.mark.parametrize("border", BORDERS)
def test_an_expanded_gradient(border: Border) -> None:
    grads = []
    for backend in ("reference", "numba"):
        leaves = [tensor.requires_grad_() for tensor in random_arguments(1, 3, 6, 7, 9)]
        output = segaware_filter2d(*leaves, 3, border=border, backend=backend)  # type: ignore[arg-type]
        grads.append(torch.autograd.grad(output.sum(), leaves))
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("wanted", range(2))
def test_one_gradient_at_a_time(wanted: int) -> None:
    grads = []
    for backend in ("reference", "numba"):
        tensors = random_arguments(1, 3, 6, 7, 9)
        tensors[wanted].requires_grad_()
        output = segaware_filter2d(*tensors, 3, iterations=2, backend=backend)  # type: ignore[arg-type]
        grads += torch.autograd.grad(output.square().sum(), tensors[wanted])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("border", BORDERS)
def test_the_number_of_threads_changes_nothing(border: Border, with_threads: Any) -> None:
    arguments = random_arguments(2, 11, 70, 41, 25, torch.float32)
    run = partial(results, *arguments, "numba", kernel_size=5, dilation=2, border=border)
    one, *others = (with_threads(threads, run) for threads in (1, 2, 5))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("border", BORDERS)
def test_a_mask_that_sums_to_zero_gives_nan(border: Border) -> None:
    input, mask = random_arguments(1, 2, 7, 7, 9)
    mask[0, :, 3, 3] = 0
    output, grad_input, grad_mask = results(input, mask, "numba", kernel_size=3, border=border)
    assert output[..., 3, 3].isnan().all() and output.isnan().sum() == 2
    # So are the gradients of all that went into it, and of nothing else.
    assert grad_input[..., 2:5, 2:5].isnan().all() and grad_input.isnan().sum() == 2 * 9
    assert grad_mask[..., 3, 3].isnan().all() and grad_mask.isnan().sum() == 9


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_where_its_windows_are(value: float) -> None:
    input, mask = random_arguments(1, 2, 9, 9, 9)
    input[0, 1, 4, 0] = value  # at the left border: the pixel before it in memory is at the right border
    output, _, grad_mask = results(input, mask, "numba", kernel_size=3)
    windows = torch.zeros(9, 9, dtype=torch.bool)
    windows[3:6, :2] = True
    assert not output[0, 0].isfinite().logical_not().any() and output[0, 1].isfinite().logical_not().equal(windows)
    assert not grad_mask[0, :, ~windows].isnan().any()


def test_an_empty_batch() -> None:
    output, grad_input, grad_mask = results(*random_arguments(0, 4, 5, 6, 9), "numba", kernel_size=3)
    assert output.shape == grad_input.shape == (0, 4, 5, 6) and grad_mask.shape == (0, 9, 5, 6)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("kernel_size", [3, (2, 4)])
def test_gradcheck(border: Border, kernel_size: Pair) -> None:
    arguments = random_arguments(1, 2, 4, 5, Window.of(kernel_size).size)
    run = partial(segaware_filter2d, kernel_size=kernel_size, dilation=2, iterations=2, border=border, backend="numba")
    assert torch.autograd.gradcheck(run, [a.requires_grad_() for a in arguments])


def test_backward_keeps_no_columns(saved_bytes: Callable[[Callable[[], Tensor]], int]) -> None:
    input, mask = (t.requires_grad_() for t in random_arguments(1, 8, 30, 30, 25, torch.float32))
    kept = saved_bytes(lambda: segaware_filter2d(input, mask, 5, backend="numba"))
    assert kept == 2 * input.nbytes + mask.nbytes + input[:, :1].nbytes  # input and output, the mask and its sum


@pytest.mark.parametrize("border", BORDERS)
def test_the_operator_is_registered_properly(border: Border) -> None:
    input, mask = random_arguments(2, 3, 5, 6, 6, torch.float32)
    window = Window.of((3, 2), padding="same").numbers()
    for needed in ((True, True), (False, True)):
        tensors = [t.detach().requires_grad_(need) for t, need in zip((input, mask), needed, strict=True)]
        torch.library.opcheck(library.filter2d, (*tensors, window, border, "numba"))


def test_compile_and_export_see_through_it() -> None:
    class Layer(torch.nn.Module):
        def forward(self, input: Tensor, mask: Tensor) -> Tensor:
            return segaware_filter2d(input, mask, 3, iterations=2).exp()

    tensors = tuple(t.requires_grad_() for t in random_arguments(2, 4, 9, 8, 9, torch.float32))
    compiled = torch.compile(Layer(), fullgraph=True, backend="aot_eager")
    outputs = Layer()(*tensors), compiled(*tensors)
    for actual, expected in (outputs, [torch.autograd.grad(y.sum(), tensors) for y in outputs]):
        torch.testing.assert_close(actual, expected)
    exported = torch.export.export(Layer(), tensors)
    assert "segaware.filter2d" in str(exported.graph)
    torch.testing.assert_close(exported.module()(*tensors), Layer()(*tensors))
