"""The Triton kernel of a CRF's mask against a softmax, and SegAwareCRF with all of Triton's kernels."""

from collections.abc import Callable

import pytest
import torch

from segaware import use_backend
from segaware.nn import SegAwareCRF
from segaware.ops.neighbour_mask.library import neighbour_mask_
from segaware.ops.neighbour_mask.op import neighbour_mask

from ..test_neighbour_mask import random_arguments
from .comparison import DEVICE, random_numbers


@pytest.mark.parametrize("hardness", [0.0, 1.7])
@pytest.mark.parametrize(
    ("batch", "kernel_size", "height", "width"),
    [(1, (3, 3), 4, 5), (2, (5, 7), 9, 11), (1, (1, 3), 1, 1), (0, (3, 3), 2, 2)],
)
@torch.no_grad()
def test_same_as_a_softmax(batch: int, kernel_size: tuple[int, int], height: int, width: int, hardness: float) -> None:
    arguments = [t.to(DEVICE) for t in random_arguments(batch, kernel_size, height, width)]
    arguments[1].fill_(hardness)
    masks = []
    for backend in ("reference", "triton"):
        with use_backend(backend):  # type: ignore[arg-type]
            masks.append(neighbour_mask(*arguments, overwrite=False))  # type: ignore[misc]
    expected, actual = masks
    torch.testing.assert_close(actual / actual.sum(1, keepdim=True), expected)
    assert batch == 0 or actual.amax(1).eq(1).all()


@torch.no_grad()
def test_offsets_of_64_bits(wide_offsets: Callable[[], None]) -> None:
    wide_offsets()
    test_same_as_a_softmax(2, (5, 7), 9, 11, 1.7)


@torch.no_grad()
def test_the_distances_are_overwritten_where_they_may_be() -> None:
    distance, *others = (t.to(DEVICE) for t in random_arguments(1, (3, 3), 4, 5))
    with use_backend("triton"):
        assert neighbour_mask(distance, *others, overwrite=False).data_ptr() != distance.data_ptr()
        assert neighbour_mask(distance, *others, overwrite=True).data_ptr() == distance.data_ptr()


@torch.no_grad()
def test_a_crf() -> None:
    crf = SegAwareCRF(3, 5, dilation=2).to(DEVICE)
    logits, embedding = random_numbers(2, 3, 9, 8), random_numbers(2, 4, 9, 8, seed=1)
    outputs = []
    for backend in ("reference", "triton"):
        with use_backend(backend):  # type: ignore[arg-type]
            outputs.append(crf(logits, embedding))
    torch.testing.assert_close(*outputs)


def test_the_operator_is_registered_properly() -> None:
    arguments = (t.to(DEVICE) for t in random_arguments(1, (3, 3), 4, 5))
    torch.library.opcheck(neighbour_mask_, (*arguments, "triton"))
