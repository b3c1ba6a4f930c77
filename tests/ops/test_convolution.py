"""segaware_conv2d, Eq. 7."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from segaware.ops import attention_mask, embedding_distance, segaware_conv2d, segaware_filter2d

from . import numpy_loops
from .random_windows import RandomWindow, random_windows, repeatable

NORMALIZE = ("mean", "sum", "none")
Normalize = Literal["mean", "sum", "none"]

pytestmark = [
    pytest.mark.usefixtures("each_backend"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]


def random_arguments(
    window: RandomWindow, batch: int, groups: int, channels: int, filters: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input, weight, mask and bias in float64; `channels` and `filters` are per group."""
    random = np.random.default_rng(0)
    grid = numpy_loops.windows(window.image_size, window.kernel_size, **window.geometry)
    return (
        torch.from_numpy(random.normal(size=(batch, groups * channels, *window.image_size))),
        torch.from_numpy(random.normal(size=(groups * filters, channels, *window.kernel_size))),
        torch.from_numpy(random.uniform(0.1, 1, (batch, len(grid[0][0]), len(grid), len(grid[0])))),
        torch.from_numpy(random.normal(size=groups * filters)),
    )


def test_worked_example() -> None:
    """(1*1*2 + 2*1*4 + 5*0.5*8) / 2.5 = 12, times the 3 taps, plus the bias."""
    row, weight = torch.tensor([1.0, 2, 5]).view(1, 1, 1, 3), torch.tensor([2.0, 4, 8]).view(1, 1, 1, 3)
    mask = torch.tensor([1.0, 1, 0.5]).view(1, 3, 1, 1)
    results = {n: segaware_conv2d(row, weight, mask, torch.tensor([100.0]), normalize=n).item() for n in NORMALIZE}
    assert results == pytest.approx({"sum": 112, "mean": 136, "none": 130})


@repeatable
@given(
    random_windows(),
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from(NORMALIZE),
)
@example(RandomWindow((3, 3), {"stride": 1, "padding": 1, "dilation": 1}, (1, 1)), 1, 1, 2, 2, "mean")
@example(RandomWindow((5, 5), {"stride": 1, "padding": "same", "dilation": 9}, (3, 4)), 1, 2, 2, 2, "sum")
def test_numpy_loop(
    window: RandomWindow, batch: int, groups: int, channels: int, filters: int, normalize: Normalize
) -> None:
    arguments = random_arguments(window, batch, groups, channels, filters)
    options = {**window.geometry, "groups": groups, "normalize": normalize}
    expected = numpy_loops.segaware_conv2d(*(a.numpy() for a in arguments), **options)
    torch.testing.assert_close(segaware_conv2d(*arguments, **options), torch.from_numpy(expected))


@repeatable
@given(random_windows(), st.integers(0, 2), st.integers(1, 3), st.floats(0.01, 10))
def test_a_constant_mask_is_conv2d(window: RandomWindow, batch: int, groups: int, constant: float) -> None:
    input, weight, mask, bias = random_arguments(window, batch, groups, channels=2, filters=2)
    expected = F.conv2d(input, weight, bias, groups=groups, **window.geometry)
    output = segaware_conv2d(input, weight, torch.full_like(mask, constant), bias, groups=groups, **window.geometry)
    torch.testing.assert_close(output, expected)
    ones = torch.ones_like(mask)
    output = segaware_conv2d(input, weight, ones, bias, groups=groups, normalize="none", **window.geometry)
    torch.testing.assert_close(output, expected)
    # The constant may differ from window to window.
    constants = mask[:, :1].expand_as(mask)
    output = segaware_conv2d(input, weight, constants, bias, groups=groups, **window.geometry)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("kernel_size", [1, 3, 4])
@pytest.mark.parametrize("padding", [0, 1, "same", "valid"])
def test_hardness_zero_is_conv2d(kernel_size: int, padding: Any) -> None:
    image, weight, bias = torch.randn(2, 3, 6, 7), torch.randn(4, 3, kernel_size, kernel_size), torch.randn(4)
    mask = attention_mask(embedding_distance(image, kernel_size, padding=padding), 0.0)
    expected = F.conv2d(image, weight, bias, padding=padding)
    torch.testing.assert_close(segaware_conv2d(image, weight, mask, bias, padding=padding), expected)
    one_image = segaware_conv2d(image[0], weight, mask[0], bias, padding=padding)
    torch.testing.assert_close(one_image, F.conv2d(image[0], weight, bias, padding=padding))


@pytest.mark.parametrize(("kernel_size", "dilation"), [((3, 3), 1), ((3, 5), 2), ((2, 4), 1), ((1, 1), 1)])
def test_a_filter_of_ones_is_the_bilateral_filter(kernel_size: tuple[int, int], dilation: int) -> None:
    image = torch.randn(2, 5, 12, 13)
    mask = attention_mask(embedding_distance(image, kernel_size, padding="same", dilation=dilation), 0.3)
    ones = torch.ones(5, 1, *kernel_size)
    output = segaware_conv2d(image, ones, mask, padding="same", dilation=dilation, groups=5, normalize="sum")
    torch.testing.assert_close(output, segaware_filter2d(image, mask, kernel_size, dilation, border="zero"))
    interior = (..., slice(4, -4), slice(4, -4))
    excluding = segaware_filter2d(image, mask, kernel_size, dilation, border="exclude")
    torch.testing.assert_close(output[interior], excluding[interior])


@pytest.mark.parametrize("normalize", NORMALIZE)
def test_the_bias_is_not_divided(normalize: Normalize) -> None:
    bias = torch.tensor([1.0, -2.0])
    mask = torch.rand(1, 9, 4, 4) + 0.1
    output = segaware_conv2d(
        torch.zeros(1, 3, 4, 4), torch.randn(2, 3, 3, 3), mask, bias, padding=1, normalize=normalize
    )
    assert torch.equal(output, bias[:, None, None].expand(1, 2, 4, 4))


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize(
    ("kernel_size", "groups", "geometry"),
    [
        ((3, 3), 1, {"padding": 1}),
        ((3, 3), 1, {"stride": 2, "padding": 1}),
        ((3, 3), 1, {"padding": 2, "dilation": 2}),
        ((2, 4), 1, {"padding": (1, 2)}),
        ((3, 2), 2, {"padding": "same"}),
    ],
)
def test_gradient(normalize: Normalize, kernel_size: tuple[int, int], groups: int, geometry: dict[str, Any]) -> None:
    def from_embedding(input: Tensor, weight: Tensor, bias: Tensor, embedding: Tensor, hardness: Tensor) -> Tensor:
        mask = attention_mask(embedding_distance(embedding, kernel_size, **geometry), hardness)
        return segaware_conv2d(input, weight, mask, bias, groups=groups, normalize=normalize, **geometry)

    arguments = (
        torch.randn(2, 2, 3, 4),
        torch.randn(2, 2 // groups, *kernel_size),
        torch.randn(2),
        torch.randperm(48).view(2, 2, 3, 4) / 20,  # no ties, where the L1 distance has no gradient to check
        torch.tensor(0.7),
    )
    assert torch.autograd.gradcheck(from_embedding, [a.double().requires_grad_() for a in arguments])


def test_gradient_of_the_mask() -> None:
    input, weight = torch.randn(1, 2, 3, 4, dtype=torch.float64), torch.randn(2, 2, 3, 3, dtype=torch.float64)
    mask = (torch.rand(1, 9, 3, 4, dtype=torch.float64) + 0.1).requires_grad_()
    for normalize in NORMALIZE:
        assert torch.autograd.gradcheck(
            lambda m, n=normalize: segaware_conv2d(input, weight, m, padding=1, normalize=n), (mask,)
        )


@pytest.mark.parametrize("padding", [0, 1])
def test_layouts_give_the_same_output_and_gradients(padding: int, relayout: Callable[[Tensor], Tensor]) -> None:
    input, weight, mask = (
        torch.randn(2, 4, 7, 6),
        torch.randn(6, 4, 3, 3),
        torch.rand(2, 9, 5 + 2 * padding, 4 + 2 * padding),
    )
    results = []
    for arguments in ((input, weight, mask), (relayout(input), relayout(weight), relayout(mask))):
        arguments = tuple(a.detach().requires_grad_() for a in arguments)
        output = segaware_conv2d(*arguments, padding=padding)
        results.append((output, *torch.autograd.grad(output.square().sum(), arguments)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
def test_channels_last_stays_channels_last(padding: int, stride: int) -> None:
    input = torch.randn(2, 8, 9, 10).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(6, 8, 3, 3)
    mask = attention_mask(embedding_distance(input, 3, stride, padding), 0.1)
    assert F.conv2d(input, weight, None, stride, padding).is_contiguous(memory_format=torch.channels_last)
    output = segaware_conv2d(input, weight, mask, None, stride, padding)
    assert output.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dtypes(normalize: Normalize, dtype: torch.dtype) -> None:
    shapes = [(2, 32, 6, 6), (8, 32, 3, 3), (2, 9, 6, 6), (8,)]
    arguments = [torch.rand(shape).to(dtype) for shape in shapes]
    output = segaware_conv2d(*arguments, padding=1, normalize=normalize)
    expected = segaware_conv2d(*(a.double() for a in arguments), padding=1, normalize=normalize)
    assert output.dtype == dtype
    # One rounding, at the end: 288 products added up in half precision would be further off.
    torch.testing.assert_close(output.double(), expected, rtol=torch.finfo(dtype).eps / 2 + 1e-5, atol=0)


def test_under_autocast_weights_may_stay_in_float32() -> None:
    input, weight, mask = torch.rand(1, 8, 6, 6).bfloat16(), torch.rand(4, 8, 3, 3), torch.rand(1, 9, 6, 6)
    expected = segaware_conv2d(input.float(), weight, mask, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        output = segaware_conv2d(input, weight, mask, padding=1)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("normalize", NORMALIZE)
def test_under_autocast_sums_are_kept_in_float32(normalize: Normalize) -> None:
    """288 products, of numbers that bfloat16 holds; it rounds the result, and nothing else."""
    tensors = [torch.randn(shape).bfloat16().float() for shape in ((1, 32, 8, 8), (4, 32, 3, 3), (4,))]
    mask = torch.rand(1, 9, 8, 8)
    expected = numpy_loops.segaware_conv2d(
        *(t.double().numpy() for t in (tensors[0], tensors[1], mask, tensors[2])), normalize, padding=1
    )
    leaves = [t.requires_grad_() for t in (*tensors, mask)]
    input, weight, bias, mask = leaves
    with torch.autocast("cpu", torch.bfloat16):
        output = segaware_conv2d(input, weight, mask, bias, padding=1, normalize=normalize)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.double(), torch.from_numpy(expected), rtol=2**-8 + 1e-5, atol=1e-5)

    grad = torch.randn(output.shape).bfloat16()
    doubles = [t.detach().double().requires_grad_() for t in leaves]
    exact = segaware_conv2d(*(doubles[i] for i in (0, 1, 3, 2)), padding=1, normalize=normalize)
    for actual, wanted in zip(
        torch.autograd.grad(output, leaves, grad), torch.autograd.grad(exact, doubles, grad.double()), strict=True
    ):
        # The gradient of the input goes through bfloat16, as the input does.
        torch.testing.assert_close(actual.double(), wanted, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("normalize", ["mean", "sum"])
@pytest.mark.parametrize(("channels", "groups"), [(2, 1), (4, 4), (700, 1)])  # many channels: one tap at a time
def test_a_mask_that_sums_to_zero_gives_nan_wherever_the_window_is(
    channels: int, groups: int, normalize: Normalize
) -> None:
    """In the corner it sees nothing of the image, in the middle some of it."""
    input, weight = torch.randn(1, channels, 4, 5), torch.randn(4, channels // groups, 3, 3)
    mask, bias = torch.rand(1, 9, 8, 9) + 0.1, torch.randn(4)
    mask[0, :, 0, 0] = mask[0, :, 3, 4] = 0
    with np.errstate(invalid="ignore"):
        arrays = (t.double().numpy() for t in (input, weight, mask, bias))
        expected = numpy_loops.segaware_conv2d(*arrays, normalize, padding=3, groups=groups)
    assert np.isnan(expected).sum() == 2 * 4
    leaves = [t.requires_grad_() for t in (input, weight, mask, bias)]
    output = segaware_conv2d(*leaves, padding=3, groups=groups, normalize=normalize)
    torch.testing.assert_close(output.double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-3, equal_nan=True)

    grad_input, grad_weight, grad_mask, grad_bias = torch.autograd.grad(output.sum(), leaves)
    seen = torch.zeros(4, 5, dtype=torch.bool)
    seen[:3, 1:4] = True  # by the window in the middle: its rows are 0 ... 2, its columns 1 ... 3
    assert grad_input.isnan().equal(seen.expand_as(input)) and grad_weight.isnan().all()
    assert grad_mask.isnan().equal((mask == 0).all(1, keepdim=True).expand_as(mask)) and grad_bias.eq(72).all()


def test_an_empty_batch_has_gradients_of_zero() -> None:
    input, weight = torch.zeros(0, 4, 5, 6, requires_grad=True), torch.randn(2, 4, 3, 3, requires_grad=True)
    output = segaware_conv2d(input, weight, torch.ones(0, 9, 5, 6), torch.ones(2), padding=1)
    output.sum().backward()
    assert output.shape == (0, 2, 5, 6)
    assert input.grad is not None and input.grad.shape == input.shape
    assert weight.grad is not None and torch.equal(weight.grad, torch.zeros_like(weight))


def test_keeps_no_columns_for_the_backward_pass(saved_bytes: Callable[[Callable[[], Tensor]], int]) -> None:
    input, weight, bias = torch.randn(1, 64, 24, 24), torch.randn(16, 64, 3, 3), torch.randn(16)
    mask = torch.rand(1, 9, 24, 24)
    arguments = [a.requires_grad_() for a in (input, weight, mask, bias)]
    assert saved_bytes(lambda: segaware_conv2d(*arguments, padding=1)) < 9 * input.nbytes / 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input": torch.zeros(5, 6)}, r"^input must be .*\(N, C, H, W\).*got torch.float32 of shape \(5, 6\)"),
        ({"input": torch.zeros(1, 4, 5, 6, dtype=torch.uint8)}, "^input must be .*got torch.uint8"),
        ({"weight": torch.zeros(2, 4, 3)}, r"^weight must have shape .*got \(2, 4, 3\)"),
        ({"weight": torch.zeros(2, 3, 3, 3)}, r"^weight must have shape \(F, 4, kh, kw\).*got \(2, 3, 3, 3\)"),
        (
            {"weight": torch.zeros(2, 4, 3, 3).double()},
            "^weight must have the dtype of input, torch.float32, got torch.float64",
        ),
        ({"weight": torch.zeros(3, 2, 3, 3), "groups": 2}, r"^weight must .*multiple of groups.*got \(3, 2, 3, 3\)"),
        (
            {"mask": torch.ones(1, 9, 5, 6)},
            r"^mask must be .*\(1, 9, 3, 4\).*got torch.float32 of shape \(1, 9, 5, 6\)",
        ),
        ({"mask": torch.ones(2, 9, 3, 4)}, r"^mask must be .*got torch.float32 of shape \(2, 9, 3, 4\)"),
        ({"mask": torch.ones(9, 3, 4)}, r"^mask must be .*got torch.float32 of shape \(9, 3, 4\)"),
        ({"mask": torch.ones(1, 9, 3, 4, dtype=torch.bool)}, "^mask must be .*got torch.bool"),
        ({"bias": torch.zeros(3)}, r"^bias must have shape \(2,\), got \(3,\)"),
        ({"stride": 0}, "^stride must be .*got 0"),
        ({"padding": (1, -1)}, r"^padding must be .*got \(1, -1\)"),
        ({"padding": "reflect"}, "^padding must be .*got 'reflect'"),
        ({"padding": "same", "stride": 2}, '^padding="same" needs stride 1, got stride 2'),
        ({"dilation": 0}, "^dilation must be .*got 0"),
        ({"dilation": 3}, r"dilation \(3, 3\) spans 7x7.*only 5x6"),
        ({"groups": 3}, "^groups must be .*4 channels, got 3"),
        ({"groups": 0}, "^groups must be .*got 0"),
        ({"groups": 2.0}, "^groups must be .*got 2.0"),
        ({"normalize": "max"}, "^normalize must be .*got 'max'"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    good = {"input": torch.zeros(1, 4, 5, 6), "weight": torch.zeros(2, 4, 3, 3), "mask": torch.ones(1, 9, 3, 4)}
    with pytest.raises(ValueError, match=message):
        segaware_conv2d(**{**good, **arguments})
