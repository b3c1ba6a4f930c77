"""segaware_filter2d, Eq. 4."""

from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import Tensor

from segaware.ops import attention_mask, embedding_distance, segaware_filter2d

from . import numpy_loops
from .random_windows import Pair, pairs, repeatable

BORDERS = ("exclude", "zero")
Border = Literal["exclude", "zero"]


def positions(height: int, width: int) -> Tensor:
    """The embedding (1, 2, H, W) of every pixel by its (row, column)."""
    grid = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack(grid)[None].double()


def test_worked_example() -> None:
    """The middle pixel is (1*0.5 + 2*1 + 5*0.5) / 2; the others have a tap outside."""
    row = torch.tensor([1.0, 2, 5]).view(1, 1, 1, 3)
    mask = torch.tensor([0.5, 1, 0.5]).view(1, 3, 1, 1).expand(1, 3, 1, 3)
    exclude = segaware_filter2d(row, mask, (1, 3))
    torch.testing.assert_close(exclude.flatten(), torch.tensor([2 / 1.5, 2.5, 6 / 1.5]))
    zero = segaware_filter2d(row, mask, (1, 3), border="zero")
    torch.testing.assert_close(zero.flatten(), torch.tensor([2 / 2, 2.5, 6 / 2]))


@repeatable
@given(
    st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    pairs(1, 5),
    pairs(1, 3),
    st.integers(1, 3),
    st.sampled_from(BORDERS),
)
@example((1, 2, 1, 1), 3, 1, 1, "exclude")
@example((1, 2, 3, 4), 13, 9, 2, "exclude")
def test_numpy_loop(
    shape: tuple[int, int, int, int], kernel_size: Pair, dilation: Pair, iterations: int, border: Border
) -> None:
    random = np.random.default_rng(0)
    kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    # An even window whose taps are spread wider than the image may hold none of its pixels; it has no mean.
    grid = numpy_loops.windows(shape[2:], kernel_size, 1, "same", dilation)
    assume(all(any(0 <= y < shape[2] and 0 <= x < shape[3] for y, x in taps) for row in grid for taps in row))
    image, mask = random.normal(size=shape), random.uniform(0.1, 1, (shape[0], kh * kw, *shape[2:]))
    expected = numpy_loops.segaware_filter2d(image, mask, kernel_size, dilation, iterations, border)
    output = segaware_filter2d(
        torch.from_numpy(image), torch.from_numpy(mask), kernel_size, dilation, iterations, border
    )
    torch.testing.assert_close(output, torch.from_numpy(expected))


@pytest.mark.parametrize("border", BORDERS)
def test_iterations_repeat_the_filter_with_the_same_mask(border: Border) -> None:
    image, mask = torch.randn(1, 3, 6, 7), torch.rand(1, 9, 6, 7)
    expected = image
    for _ in range(4):
        expected = segaware_filter2d(expected, mask, 3, border=border)
    torch.testing.assert_close(segaware_filter2d(image, mask, 3, iterations=4, border=border), expected)


@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 7)])
def test_a_constant_embedding_is_the_average_filter(kernel_size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(size=(12, 15))
    kh, kw = kernel_size
    distance = embedding_distance(torch.ones(1, 4, 12, 15, dtype=torch.float64), kernel_size, padding="same")
    output = segaware_filter2d(torch.from_numpy(image)[None, None], attention_mask(distance, 2.0), kernel_size)[0, 0]
    interior = (slice(kh // 2, -(kh // 2)), slice(kw // 2, -(kw // 2)))
    np.testing.assert_allclose(output[interior], cv2.blur(image, (kw, kh))[interior], atol=1e-12)
    # At the border the average is over the pixels that exist.
    total = scipy.ndimage.uniform_filter(image, kernel_size, mode="constant")
    count = scipy.ndimage.uniform_filter(np.ones_like(image), kernel_size, mode="constant")
    np.testing.assert_allclose(output, total / count, atol=1e-12)


def test_a_constant_image_does_not_fade_towards_the_border() -> None:
    ones, mask = torch.ones(1, 2, 6, 7), torch.rand(1, 25, 6, 7) + 0.1
    torch.testing.assert_close(segaware_filter2d(ones, mask, 5, dilation=2, iterations=5), ones)
    assert segaware_filter2d(ones, mask, 5, dilation=2, border="zero")[0, 0, 0, 0] < 0.9


def test_positions_as_embedding_are_gaussian_smoothing() -> None:
    sigma, radius = 1.3, 4
    image = np.random.default_rng(0).normal(size=(14, 17))
    distance = embedding_distance(positions(14, 17), 2 * radius + 1, padding="same", metric="sqeuclidean")
    mask = attention_mask(distance, 1 / (2 * sigma**2))
    output = segaware_filter2d(torch.from_numpy(image)[None, None], mask, 2 * radius + 1)[0, 0]

    def gaussian(a: np.ndarray) -> np.ndarray:
        return scipy.ndimage.gaussian_filter(a, sigma, radius=radius, mode="constant")

    interior = (slice(radius, -radius), slice(radius, -radius))
    np.testing.assert_allclose(output[interior], gaussian(image)[interior], atol=1e-12)
    np.testing.assert_allclose(output, gaussian(image) / gaussian(np.ones_like(image)), atol=1e-12)


def test_positions_and_colour_as_embedding_are_the_classic_bilateral_filter() -> None:
    sigma_space, sigma_colour, radius, size = 2.0, 0.4, 4, 20
    image = np.random.default_rng(0).uniform(size=(size, size)).astype(np.float32)
    image[:, size // 2 :] += 1
    tensor = torch.from_numpy(image).double()[None, None]
    embedding = torch.cat([positions(size, size) / sigma_space, tensor / sigma_colour], dim=1)
    distance = embedding_distance(embedding, 2 * radius + 1, padding="same", metric="sqeuclidean")
    # OpenCV's window is the disc inside the square.
    offset = positions(2 * radius + 1, 2 * radius + 1) - radius
    disc = offset.square().sum(1).sqrt().view(1, -1, 1, 1) <= radius
    output = segaware_filter2d(tensor, attention_mask(distance, 0.5) * disc, 2 * radius + 1)[0, 0]

    expected = cv2.bilateralFilter(image, 2 * radius + 1, sigma_colour, sigma_space)
    interior = (slice(radius, -radius), slice(radius, -radius))
    # OpenCV reads its exponentials from a table.
    np.testing.assert_allclose(output[interior], expected[interior], atol=1e-4)
    assert np.abs(cv2.GaussianBlur(image, (9, 9), sigma_space) - expected)[interior].max() > 0.1


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(
    ("kernel_size", "dilation", "iterations"), [((3, 3), 1, 1), ((3, 3), 1, 2), ((3, 1), 2, 1), ((2, 4), 1, 1)]
)
def test_gradient(border: Border, kernel_size: tuple[int, int], dilation: int, iterations: int) -> None:
    def from_embedding(input: Tensor, embedding: Tensor, hardness: Tensor) -> Tensor:
        mask = attention_mask(embedding_distance(embedding, kernel_size, padding="same", dilation=dilation), hardness)
        return segaware_filter2d(input, mask, kernel_size, dilation, iterations, border)

    # No ties, where the L1 distance has no gradient to check.
    arguments = (torch.randn(1, 2, 4, 5), torch.randperm(40).view(1, 2, 4, 5) / 20, torch.tensor(0.7))
    assert torch.autograd.gradcheck(from_embedding, [a.double().requires_grad_() for a in arguments])


@pytest.mark.parametrize("border", BORDERS)
def test_gradient_of_the_mask(border: Border) -> None:
    image = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    mask = (torch.rand(1, 9, 3, 4, dtype=torch.float64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: segaware_filter2d(image, m, 3, iterations=2, border=border), (mask,))


def test_layouts_give_the_same_output_and_gradients(relayout: Callable[[Tensor], Tensor]) -> None:
    input, mask = torch.randn(2, 4, 7, 6), torch.rand(2, 9, 7, 6)
    results = []
    for arguments in ((input, mask), (relayout(input), relayout(mask))):
        arguments = tuple(a.detach().requires_grad_() for a in arguments)
        output = segaware_filter2d(*arguments, 3, iterations=2)
        results.append((output, *torch.autograd.grad(output.square().sum(), arguments)))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dtypes(dtype: torch.dtype) -> None:
    image, mask = torch.rand(1, 3, 8, 8).to(dtype), torch.rand(1, 49, 8, 8).to(dtype)
    output = segaware_filter2d(image, mask, 7, iterations=3)
    expected = segaware_filter2d(image.double(), mask.double(), 7, iterations=3)
    assert output.dtype == dtype
    # One rounding, at the end: three passes over 49 taps in half precision would be further off.
    torch.testing.assert_close(output.double(), expected, rtol=torch.finfo(dtype).eps / 2 + 1e-5, atol=0)


def test_one_image_is_a_batch_of_one() -> None:
    image, mask = torch.randn(3, 5, 6), torch.rand(9, 5, 6)
    output = segaware_filter2d(image, mask, 3)
    assert output.shape == image.shape
    assert torch.equal(output, segaware_filter2d(image[None], mask[None], 3)[0])


def test_an_empty_batch_has_an_empty_gradient() -> None:
    image = torch.zeros(0, 4, 5, 6, requires_grad=True)
    segaware_filter2d(image, torch.ones(0, 9, 5, 6), 3).sum().backward()
    assert image.grad is not None and image.grad.shape == image.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input": torch.zeros(5, 6)}, r"^input must be .*\(N, C, H, W\).*got torch.float32 of shape \(5, 6\)"),
        ({"input": torch.zeros(1, 4, 5, 6, dtype=torch.uint8)}, "^input must be .*got torch.uint8"),
        (
            {"mask": torch.ones(1, 9, 3, 4)},
            r"^mask must be .*\(1, 9, 5, 6\).*got torch.float32 of shape \(1, 9, 3, 4\)",
        ),
        ({"mask": torch.ones(1, 25, 5, 6)}, r"^mask must be .*got torch.float32 of shape \(1, 25, 5, 6\)"),
        ({"mask": torch.ones(1, 9, 5, 6, dtype=torch.bool)}, "^mask must be .*got torch.bool"),
        ({"kernel_size": 0}, "^kernel_size must be .*got 0"),
        ({"dilation": 0}, "^dilation must be .*got 0"),
        ({"iterations": 0}, "^iterations must be .*got 0"),
        ({"iterations": 1.0}, "^iterations must be .*got 1.0"),
        ({"border": "reflect"}, "^border must be .*got 'reflect'"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    good = {"input": torch.zeros(1, 4, 5, 6), "mask": torch.ones(1, 9, 5, 6), "kernel_size": 3}
    with pytest.raises(ValueError, match=message):
        segaware_filter2d(**{**good, **arguments})


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("border", ["exclude", "zero"])
def test_under_autocast_and_where_a_mask_sums_to_zero(border: Any, backend: Any) -> None:
    input, mask = torch.randn(2, 3, 6, 5), torch.rand(2, 9, 6, 5)
    mask[0, :, 3, 2] = mask[1, :, 0, 0] = 0
    with np.errstate(invalid="ignore"):
        expected = numpy_loops.segaware_filter2d(input.double().numpy(), mask.double().numpy(), 3, 1, 1, border)
    leaves = [input.requires_grad_(), mask.requires_grad_()]
    with torch.autocast("cpu", torch.bfloat16):
        output = segaware_filter2d(*leaves, 3, border=border, backend=backend)
    torch.testing.assert_close(output.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6, equal_nan=True)
    grad_mask = torch.autograd.grad(output.sum(), mask)[0]
    # Taps that are left out of both sums have no gradient.
    assert grad_mask.isnan().sum() == 9 + (4 if border == "exclude" else 9)
