"""correlation, what FlowNetC matches features by."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segaware.ops.correlation.op import correlation


def numpy_loop(input1: np.ndarray, input2: np.ndarray, max_displacement: int, stride: int) -> np.ndarray:
    """Every correlation by itself, from the equation."""
    batch, channels, height, width = input1.shape
    reach = max_displacement // stride
    steps = [stride * k for k in range(-reach, reach + 1)]
    output = np.zeros((batch, len(steps) ** 2, height, width))
    for k, (dy, dx) in enumerate((dy, dx) for dy in steps for dx in steps):
        for y in range(max(0, -dy), min(height, height - dy)):
            for x in range(max(0, -dx), min(width, width - dx)):
                product = input1[:, :, y, x] * input2[:, :, y + dy, x + dx]
                output[:, k, y, x] = product.sum(1) / channels
    return output


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1), (3, 2)])
@pytest.mark.parametrize(("max_displacement", "stride"), [(0, 1), (1, 1), (3, 1), (4, 2), (5, 2), (2, 3), (6, 3)])
def test_numpy_loop(size: tuple[int, int], max_displacement: int, stride: int) -> None:
    input1, input2 = np.random.default_rng(0).normal(size=(2, 2, 3, *size))
    expected = numpy_loop(input1, input2, max_displacement, stride)
    result = correlation(torch.from_numpy(input1), torch.from_numpy(input2), max_displacement, stride)
    torch.testing.assert_close(result, torch.from_numpy(expected))


def test_displacements_are_row_major_and_lead_from_the_first_image_to_the_second() -> None:
    input1, input2 = torch.zeros(2, 1, 1, 9, 9)
    input1[..., 4, 4] = 1
    input2[..., 2, 6] = 1  # dy = -2, dx = 2, of -4, -2, 0, 2, 4
    assert correlation(input1, input2, 4, stride=2).nonzero().tolist() == [[0, 5 * 1 + 3, 4, 4]]


@pytest.mark.parametrize(("max_displacement", "stride"), [(2, 1), (3, 2)])
def test_gradient(max_displacement: int, stride: int) -> None:
    input1, input2 = (torch.randn(2, 2, 3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: correlation(a, b, max_displacement, stride), (input1, input2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layout_and_dtype(dtype: torch.dtype) -> None:
    input1, input2 = torch.randn(2, 2, 16, 6, 9).to(dtype)
    expected = correlation(input1.double(), input2.double(), 2)
    result = correlation(input1.to(memory_format=torch.channels_last), input2.mT.contiguous().mT, 2)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, rtol=0.02, atol=0.02 if dtype == torch.bfloat16 else 1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_memory_for_the_gradient_does_not_grow_with_displacements(
    batch: int, saved_bytes: Callable[[Callable[[], Tensor]], int]
) -> None:
    input1, input2 = (torch.randn(batch, 32, 10, 12, requires_grad=True) for _ in range(2))
    one_padded = 4 * batch * 32 * (10 + 8) * (12 + 8)  # 81 displacements
    assert saved_bytes(lambda: correlation(input1, input2, 4)) <= 2 * one_padded


GOOD = torch.rand(1, 2, 3, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GOOD[0], GOOD[0], 1), r"^input1 must be a floating-point .*\(N, C, H, W\), got .*\(2, 3, 4\)"),
        ((GOOD, GOOD.long(), 1), r"^input2 must be a floating-point .*got torch.int64"),
        ((GOOD, GOOD[..., 1:], 1), r"^input1 and input2 must have the same shape.*\(1, 2, 3, 4\).*\(1, 2, 3, 3\)"),
        ((GOOD, GOOD.double(), 1), r"^input1 and input2 must have the same .*dtype.*float32.*float64"),
        ((GOOD, GOOD, -1), "^max_displacement must be an int of at least 0, got -1"),
        ((GOOD, GOOD, 1.0), "^max_displacement must be an int of at least 0, got 1.0"),
        ((GOOD, GOOD, 1, 0), "^stride must be an int of at least 1, got 0"),
        ((GOOD, GOOD, 1, True), "^stride must be an int of at least 1, got True"),
    ],
)
def test_a_bad_argument_is_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        correlation(*arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("max_displacement", "stride"), [(0, 1), (2, 1), (3, 2), (6, 3)])
def test_what_is_not_finite_stays_where_displacements_lead(
    which: int, max_displacement: int, stride: int, value: float
) -> None:
    inputs = [torch.randn(2, 3, 9, 8, dtype=torch.float64) for _ in range(2)]
    grad = torch.randn_like(correlation(*inputs, max_displacement, stride))
    zeroed = [t.clone() for t in inputs]
    inputs[which][0, 1, 4, 3], zeroed[which][0, 1, 4, 3] = value, 0
    expected, actual = (
        torch.autograd.grad(correlation(*leaves, max_displacement, stride), leaves, grad)
        for leaves in ([t.requires_grad_() for t in tensors] for tensors in (zeroed, inputs))
    )
    steps = stride * torch.arange(-(max_displacement // stride), max_displacement // stride + 1)
    rows, columns = (place[(place >= 0) & (place < n)] for place, n in ((4 + steps, 9), (3 + steps, 8)))
    expected[1 - which][0, 1, rows[:, None], columns] = torch.nan
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_second_derivatives() -> None:
    input1, input2 = (torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradgradcheck(lambda a, b: correlation(a, b, 2), (input1, input2))


def test_under_autocast() -> None:
    input1, input2 = torch.randn(2, 1, 300, 5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        result = correlation(input1, input2, 2)
    expected = numpy_loop(*(t.double().numpy() for t in (input1, input2)), 2, 1)
    torch.testing.assert_close(result.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)
