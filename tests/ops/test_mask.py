"""attention_mask, Eq. 3."""

import math

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
