"""segaware_median2d: its reference and its Numba kernels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from segaware.ops import segaware_median2d
from segaware.ops._backends import Backend
from segaware.ops.median import library
from segaware.ops.window import Window

from . import numpy_loops
from .random_windows import Pair, pairs, repeatable

pytestmark = pytest.mark.usefixtures("uninitialised_is_nan")

BACKENDS: tuple[Backend, ...] = ("reference", "numba")
Shape = tuple[int, int, int, int]


def random_arguments(shape: Shape, taps: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """An input with equal values, unknown ones and zeros of both signs, and weights that are summed without rounding.

    So the backends cannot disagree on which sum reaches half.
    """
    random = torch.Generator().manual_seed(0)
    input = (torch.randn(shape, generator=random) * 8).round().div(8).to(dtype)
    input[torch.rand(shape, generator=random) < 0.1] = torch.nan
    mask = torch.randint(0, 65, (shape[0], taps, *shape[2:]), generator=random) / 64
    return input, mask.to(dtype)


def results(input: Tensor, mask: Tensor, backend: Backend, **options: Any) -> list[Tensor]:
    """The output and the gradient of the input."""
    leaf = input.detach().requires_grad_()
    output = segaware_median2d(leaf, mask, **options, backend=backend)
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, leaf, grad)]


def test_worked_example() -> None:
    """Of weights 3, 1, 1 at 9, 1, 5, half lies up to 9 only; of 2, 2, 0 already up to the lower one."""
    row = torch.tensor([9.0, 1, 5]).view(1, 1, 1, 3)
    for weights, median in (([3.0, 1, 1], 9), ([1, 1, 3], 5), ([1, 1, 2], 5), ([2, 2, 0], 1), ([0, 0, 0], np.nan)):
        mask = torch.tensor(weights).float().view(1, 3, 1, 1).expand(1, 3, 1, 3)
        for backend in BACKENDS:
            output = segaware_median2d(row, mask, (1, 3), backend=backend).flatten()[1]
            torch.testing.assert_close(output, torch.tensor(float(median)), equal_nan=True)


@pytest.mark.parametrize("backend", BACKENDS)
@repeatable
@given(
    st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    pairs(1, 5),
    pairs(1, 3),
    st.integers(1, 2),
    st.sampled_from([0, 0.25]),
)
@example((1, 2, 1, 1), 3, 1, 1, 0)
@example((1, 2, 3, 4), 13, 9, 2, 0.25)  # a window beyond the image
def test_numpy_loop(
    backend: Backend, shape: Shape, kernel_size: Pair, dilation: Pair, iterations: int, center_weight: float
) -> None:
    input, mask = random_arguments(shape, Window.of(kernel_size).size)
    arguments = kernel_size, dilation, iterations, center_weight
    expected = numpy_loops.segaware_median2d(input.numpy(), mask.numpy(), *arguments)
    output = segaware_median2d(input, mask, *arguments, backend)
    torch.testing.assert_close(output, torch.from_numpy(expected), rtol=0, atol=0, equal_nan=True)


@settings(repeatable, max_examples=150)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    pairs(1, 3),
    st.integers(1, 2),
    st.sampled_from([0, 0.25]),
    st.sampled_from([torch.float32, torch.float64]),
)
@example((2, 2, 5, 150), (5, 3), 2, 1, 0.25, torch.float32)  # several blocks of a row
def test_kernels_and_reference(
    shape: Shape, kernel_size: tuple[int, int], dilation: Pair, iterations: int, center_weight: float, dtype: Any
) -> None:
    input, mask = random_arguments(shape, kernel_size[0] * kernel_size[1], dtype)
    options: dict[str, Any] = {"kernel_size": kernel_size, "dilation": dilation}
    options |= {"iterations": iterations, "center_weight": center_weight}
    (output, grad), (expected, expected_grad) = (results(input, mask, b, **options) for b in ("numba", "reference"))
    torch.testing.assert_close(output, expected, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(grad, expected_grad)  # sums in another order


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_equal_weights_are_the_median_filter(kernel_size: int, backend: Backend) -> None:
    image = np.random.default_rng(0).normal(size=(14, 17)).astype(np.float32)
    mask = torch.ones(1, kernel_size**2, 14, 17)
    output = segaware_median2d(torch.from_numpy(image)[None, None], mask, kernel_size, backend=backend)[0, 0].numpy()
    interior = (slice(2, -2), slice(2, -2))
    np.testing.assert_array_equal(output[interior], cv2.medianBlur(image, kernel_size)[interior])

    # Outside the image nothing has weight, which NumPy's quantile knows as leaving out NaN.
    def lower_median(window: np.ndarray) -> float:
        return float(np.nanquantile(window, 0.5, method="inverted_cdf"))

    expected = scipy.ndimage.generic_filter(image, lower_median, kernel_size, mode="constant", cval=np.nan)
    np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("center_weight", [1.0, 1e30])
def test_a_heavy_centre_keeps_every_value(center_weight: float, backend: Backend) -> None:
    input, mask = torch.randn(1, 2, 6, 7), torch.rand(1, 9, 6, 7) + 0.1
    assert torch.equal(segaware_median2d(input, mask, 3, center_weight=center_weight, backend=backend), input)


@pytest.mark.parametrize("backend", BACKENDS)
def test_infinite_and_extreme_values_are_values(backend: Backend) -> None:
    row = torch.tensor([-torch.inf, -3e38, -1e-45, 1e-45, 3e38, torch.inf]).view(1, 1, 1, 6)
    for k in range(6):
        mask = torch.zeros(1, 13, 1, 6)
        mask[0, 6 + k, 0, 0] = 1  # what the first pixel sees k pixels to the right
        assert segaware_median2d(row, mask, (1, 13), backend=backend)[0, 0, 0, 0] == row[0, 0, 0, k]


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend: Backend) -> None:
    input = torch.randperm(40).view(1, 2, 4, 5).double().requires_grad_()  # far apart: no small step changes a median
    mask = torch.rand(1, 9, 4, 5, dtype=torch.float64)
    run = partial(segaware_median2d, mask=mask, kernel_size=3, dilation=2, iterations=2, backend=backend)
    assert torch.autograd.gradcheck(run, (input,))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_mask_has_no_gradient(backend: Backend) -> None:
    input, mask = (t.requires_grad_() for t in (torch.randn(1, 2, 4, 5), torch.rand(1, 9, 4, 5)))
    output = segaware_median2d(input, mask, 3, backend=backend)
    assert torch.autograd.grad(output.sum(), mask, allow_unused=True) == (None,)


def test_layouts_give_the_same_output_and_gradient(relayout: Callable[[Tensor], Tensor]) -> None:
    input, mask = random_arguments((2, 4, 7, 6), 9, torch.float32)
    expected, actual = (
        results(input, mask, "numba", kernel_size=3),
        results(relayout(input), relayout(mask), "numba", kernel_size=3),
    )
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions(dtype: torch.dtype) -> None:
    input, mask = (t.to(dtype) for t in random_arguments((1, 3, 8, 8), 49))
    with torch.autocast("cpu", torch.bfloat16):
        output = segaware_median2d(input, mask, 7, iterations=3)
    assert output.dtype == dtype
    expected = segaware_median2d(input.double(), mask.double(), 7, iterations=3)
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=0, equal_nan=True)


def test_the_number_of_threads_changes_nothing(with_threads: Any) -> None:
    run = partial(results, *random_arguments((2, 3, 40, 70), 25, torch.float32), "numba", kernel_size=5)
    one, *others = (with_threads(threads, run) for threads in (1, 2, 5))
    for other in others:
        for a, b in zip(other, one, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_one_image_is_a_batch_of_one() -> None:
    image, mask = torch.randn(3, 5, 6), torch.rand(9, 5, 6)
    assert torch.equal(segaware_median2d(image, mask, 3), segaware_median2d(image[None], mask[None], 3)[0])


def test_there_is_no_gpu_kernel() -> None:
    with pytest.raises(RuntimeError, match="segaware_median2d has no GPU kernel"):
        segaware_median2d(torch.zeros(1, 2, 5, 6), torch.ones(1, 9, 5, 6), 3, backend="triton")


def test_the_operator_is_registered_properly() -> None:
    input, mask = random_arguments((2, 3, 5, 6), 6, torch.float32)
    window = Window.of((3, 2), padding="same").numbers()
    torch.library.opcheck(library.median2d, (input.nan_to_num().requires_grad_(), mask, window, 0.25, "numba"))


def test_compile_and_export_see_through_it() -> None:
    class Layer(torch.nn.Module):
        def forward(self, input: Tensor, mask: Tensor) -> Tensor:
            return segaware_median2d(input, mask, 3, iterations=2).exp()

    input, mask = torch.randn(2, 4, 9, 8, requires_grad=True), torch.rand(2, 9, 9, 8)
    compiled = torch.compile(Layer(), fullgraph=True, backend="aot_eager")
    outputs = Layer()(input, mask), compiled(input, mask)
    for actual, expected in (outputs, [torch.autograd.grad(y.sum(), input)[0] for y in outputs]):
        torch.testing.assert_close(actual, expected)
    exported = torch.export.export(Layer(), (input, mask))
    assert "segaware.median2d" in str(exported.graph)
    torch.testing.assert_close(exported.module()(input, mask), Layer()(input, mask))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input": torch.zeros(5, 6)}, r"^input must be .*\(N, C, H, W\).*got torch.float32 of shape \(5, 6\)"),
        ({"mask": torch.ones(1, 25, 5, 6)}, r"^mask must be .*\(1, 9, 5, 6\).*got torch.float32"),
        ({"mask": torch.ones(1, 9, 5, 6, dtype=torch.bool)}, "^mask must be .*got torch.bool"),
        ({"kernel_size": 0}, "^kernel_size must be .*got 0"),
        ({"dilation": 0}, "^dilation must be .*got 0"),
        ({"iterations": 0}, "^iterations must be .*got 0"),
        ({"center_weight": -1}, "^center_weight must be .*got -1"),
        ({"center_weight": "1"}, "^center_weight must be .*got '1'"),
        ({"backend": "cuda"}, "^backend must be .*got 'cuda'"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    good = {"input": torch.zeros(1, 4, 5, 6), "mask": torch.ones(1, 9, 5, 6), "kernel_size": 3}
    with pytest.raises(ValueError, match=message):
        segaware_median2d(**{**good, **arguments})
