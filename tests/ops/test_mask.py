"""attention_mask, Eq. 3."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from segaware.ops import attention_mask


@pytest.mark.parametrize("hardness", [0.5, 3, torch.tensor(0.5)])
def test_is_the_exponential_of_minus_hardness_times_distance(hardness: float | torch.Tensor) -> None:
    distance = np.random.default_rng(0).uniform(0, 4, (2, 9, 3, 4))
    expected = [math.exp(-float(hardness) * d) for d in distance.flat]
    mask = attention_mask(torch.from_numpy(distance), hardness)
    torch.testing.assert_close(mask.flatten(), torch.tensor(expected, dtype=torch.float64))
    assert mask.shape == distance.shape


@pytest.mark.parametrize("hardness", [0, 0.0, torch.zeros(())])
def test_hardness_zero_is_a_mask_of_ones(hardness: float | torch.Tensor) -> None:
    assert torch.equal(attention_mask(torch.rand(1, 9, 4, 4), hardness), torch.ones(1, 9, 4, 4))


def test_hardness_broadcasts() -> None:
    mask = attention_mask(torch.ones(2, 1, 1, 1), torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
    torch.testing.assert_close(mask.flatten(), torch.tensor([1.0, math.exp(-1)]))


def test_gradient_of_distance_and_hardness() -> None:
    distance = torch.rand(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    for value in (0.0, 0.7):  # hardness 0 can be learned away from
        hardness = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(attention_mask, (distance, hardness))
        (gradient,) = torch.autograd.grad(attention_mask(distance, hardness).sum(), hardness)
        torch.testing.assert_close(gradient, (-distance * (-value * distance).exp()).sum())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("hardness", [0.5, torch.full((1,), 0.5)])
def test_keeps_the_dtype_of_the_distance(dtype: torch.dtype, hardness: float | torch.Tensor) -> None:
    distance = (4 * torch.rand(1, 9, 4, 4)).to(dtype)
    mask = attention_mask(distance, hardness)
    assert mask.dtype == dtype
    expected = torch.exp(-0.5 * distance.double())
    torch.testing.assert_close(mask.double(), expected, rtol=4 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("hardness", [-1, -0.5, math.nan, math.inf])
def test_a_bad_hardness_is_named(hardness: float) -> None:
    with pytest.raises(ValueError, match=f"^hardness must be .*got {hardness}"):
        attention_mask(torch.zeros(1, 9, 2, 2), hardness)


def test_a_distance_of_integers_is_named() -> None:
    with pytest.raises(ValueError, match=r"^distance must be .*got torch.int64"):
        attention_mask(torch.arange(3), 1.0)


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
NOT_FINITE = [math.inf, math.nan]


@pytest.mark.parametrize("distance", NOT_FINITE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hardness", [0, 0.0, torch.zeros(()), torch.zeros(1), torch.zeros(2, dtype=torch.float64)])
def test_hardness_zero_is_a_mask_of_ones_at_any_distance(hardness: Any, dtype: torch.dtype, distance: float) -> None:
    distances = torch.tensor([1.0, distance], dtype=dtype, requires_grad=True)
    if isinstance(hardness, torch.Tensor):
        hardness = hardness.clone().requires_grad_()
    mask = attention_mask(distances, hardness)
    assert mask.dtype == dtype and mask.eq(1).all()
    mask.sum().backward()
    assert torch.equal(distances.grad, torch.zeros_like(distances))  # type: ignore[arg-type]
    if isinstance(hardness, torch.Tensor):
        assert hardness.grad is not None and hardness.grad.sum() == -1  # that of the finite distance


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hardness", [0.5, 7e4, 1e30])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_large_hardness_and_infinite_distance(hardness: float, dtype: torch.dtype, as_tensor: bool) -> None:
    """Both are more than float16 holds."""
    distance = torch.tensor([0.0, 1e-5, 1e-3, 1.0, 5e4, math.inf], dtype=dtype)
    given = torch.tensor(hardness, dtype=torch.float64, requires_grad=True) if as_tensor else hardness
    mask = attention_mask(distance, given)
    expected = np.exp(-hardness * distance.double().numpy())
    torch.testing.assert_close(mask.detach().double().numpy(), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-7)
    if isinstance(given, torch.Tensor):
        mask.double().sum().backward()
        finite = distance.double().numpy()[:-1]
        gradient = -(finite * np.exp(-hardness * finite)).sum()
        assert given.grad is not None and given.grad.item() == pytest.approx(gradient, rel=0.01, abs=1e-30)


def test_nan_stays_where_there_is_a_hardness() -> None:
    for hardness in (0.5, torch.tensor(0.5)):
        assert attention_mask(torch.tensor([math.nan, 1.0]), hardness).isnan().tolist() == [True, False]


def test_second_derivatives_and_function_transforms() -> None:
    distance = torch.rand(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    for shape in ((), (1, 4, 1, 1)):
        hardness = torch.rand(shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradgradcheck(attention_mask, (distance, hardness))
        gradient = torch.func.grad(lambda h: attention_mask(distance, h).sum())(hardness)
        expected = -(distance * (-hardness * distance).exp()).sum_to_size(shape)
        torch.testing.assert_close(gradient, expected)
    gradients = torch.func.vmap(torch.func.grad(lambda d: attention_mask(d, 0.5).sum()))(distance.detach())
    torch.testing.assert_close(gradients, -0.5 * (-0.5 * distance).exp())


def test_compile_sees_through_it() -> None:
    compiled = torch.compile(attention_mask, fullgraph=True, backend="aot_eager")
    distance = torch.tensor([0.5, math.inf])
    for value in (0.0, 0.7):
        hardness = torch.tensor(value, requires_grad=True)
        mask = compiled(distance, hardness)
        torch.testing.assert_close(mask, attention_mask(distance, hardness))
        mask.sum().backward()
        assert hardness.grad is not None and hardness.grad.item() == pytest.approx(-0.5 * math.exp(-0.5 * value))
