"""The Triton kernel of attention_mask against PyTorch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from segaware import attention_mask, use_backend
from segaware.ops._backends import Backend
from segaware.ops.arguments import compute_dtype
from segaware.ops.masking import library

from .comparison import DEVICE, positive_numbers, random_numbers, results, same_as_reference

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def run(distance: Tensor, hardness: Tensor, backend: Backend) -> Tensor:
    with use_backend(backend):
        return attention_mask(distance, hardness)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hardness", [0.0, 0.75, 20.0])
@pytest.mark.parametrize("shape", [(2, 9, 13, 11), (1, 1, 1, 1), (3,)])  # three programs, the last one not whole
def test_same_as_the_reference(shape: tuple[int, ...], hardness: float, dtype: torch.dtype) -> None:
    # The sum over all numbers of terms that cancel is the largest of the results' errors.
    tolerance = 0.1 if dtype in (torch.float16, torch.bfloat16) else None
    distance = positive_numbers(*shape).to(dtype)
    learned = torch.tensor(hardness, dtype=compute_dtype(distance), device=DEVICE)
    same_as_reference(run, [distance, learned], tolerance)


def test_offsets_of_64_bits(wide_offsets: Callable[[], None]) -> None:
    wide_offsets()
    same_as_reference(run, [positive_numbers(2, 9, 13, 11), torch.tensor(0.5, device=DEVICE)])


def test_distances_that_are_not_finite() -> None:
    for hardness, worst in ((0.0, torch.nan), (0.5, torch.inf), (3e38, torch.inf)):
        distance = torch.tensor([1.0, torch.inf, worst, 0.0], device=DEVICE)
        leaves = [distance, torch.tensor(hardness, device=DEVICE)]
        expected, actual = (results(lambda *t, b=b: run(*t, b), leaves) for b in ("reference", "triton"))
        for a, b in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, b, equal_nan=True)


def test_memory_layouts_and_an_empty_one() -> None:
    hardness = torch.tensor(0.5, device=DEVICE)
    for distance in (positive_numbers(2, 3, 4, 5).mT, positive_numbers(2, 1, 4, 5).expand(-1, 3, -1, -1)):
        same_as_reference(run, [distance, hardness])
    mask, grad, grad_hardness = results(lambda *t: run(*t, "triton"), [positive_numbers(0, 9, 2, 2), hardness])
    assert mask.shape == grad.shape == (0, 9, 2, 2) and grad_hardness == 0


def test_other_hardnesses_are_computed_by_pytorch() -> None:
    distance = positive_numbers(2, 3, 4, 5)
    for hardness in (0.5, torch.full((3, 1, 1), 0.5, device=DEVICE)):
        torch.testing.assert_close(run(distance, hardness, "triton"), run(distance, hardness, "reference"))  # type: ignore[arg-type]


def test_the_operator_is_registered_properly() -> None:
    distance = random_numbers(2, 3, 4, 5).abs().requires_grad_()
    hardness = torch.tensor(0.5, device=DEVICE, requires_grad=True)
    torch.library.opcheck(library.attention_mask, (distance, hardness, "triton"))
