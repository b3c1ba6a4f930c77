"""Eq. 3 and its gradients on a GPU, in one launch each where PyTorch takes six: that counts for one image at a time."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import accumulator_type, index_type, on_device_of
from segaware.ops.arguments import compute_dtype

_NUMBERS, _WARPS = 1024, 4  # of a program


@triton.jit
def _mask_of(distance, hardness, most: tl.constexpr, accumulator: tl.constexpr):
    """Return the mask and the hardness, no larger than its type holds: 0 times an infinite distance is 0."""
    hardness = tl.minimum(tl.load(hardness).to(accumulator), most)
    return tl.where(hardness == 0, 1.0, tl.exp(-hardness * distance)), hardness


@triton.jit
def _forward(
    distance,
    hardness,
    mask,
    count,
    most: tl.constexpr,
    accumulator: tl.constexpr,
    index: tl.constexpr,
    numbers: tl.constexpr,
):
    place = tl.program_id(0).to(index) * numbers + tl.arange(0, numbers)
    exists = place < count
    value, _ = _mask_of(tl.load(distance + place, mask=exists, other=0).to(accumulator), hardness, most, accumulator)
    tl.store(mask + place, value.to(mask.dtype.element_ty), mask=exists)


@triton.jit
def _backward(
    grad, distance, hardness, result, parts, count, most: tl.constexpr, accumulator: tl.constexpr, index: tl.constexpr,
    numbers: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of the distance, and a part of the hardness's, to which only finite distances belong."""
    place = tl.program_id(0).to(index) * numbers + tl.arange(0, numbers)
    exists = place < count
    length = tl.load(distance + place, mask=exists, other=0).to(accumulator)
    value, factor = _mask_of(length, hardness, most, accumulator)
    value *= tl.load(grad + place, mask=exists, other=0).to(accumulator)
    tl.store(result + place, (-factor * value).to(result.dtype.element_ty), mask=exists)
    tl.store(parts + tl.program_id(0), tl.sum(tl.where(length - length == 0, -length * value, 0), 0))


def _constants(distance: Tensor) -> dict[str, object]:
    return {
        "most": torch.finfo(compute_dtype(distance)).max,
        "accumulator": accumulator_type(distance),
        "index": index_type(distance.numel()),
        "numbers": _NUMBERS,
        "num_warps": _WARPS,
    }


def forward(distance: Tensor, hardness: Tensor) -> Tensor:
    """Return the mask, given distances of any shape and a hardness without dimensions."""
    distance = distance.contiguous()
    mask = torch.empty_like(distance)
    if mask.numel() > 0:
        with on_device_of(distance):
            _forward[(triton.cdiv(mask.numel(), _NUMBERS),)](
                distance, hardness, mask, mask.numel(), **_constants(distance)
            )
    return mask


def backward(grad: Tensor, distance: Tensor, hardness: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of distance and hardness."""
    grad, distance = grad.contiguous(), distance.contiguous()
    result = torch.empty_like(distance)
    programs = triton.cdiv(result.numel(), _NUMBERS)
    parts = result.new_empty(programs, dtype=compute_dtype(distance))
    if programs > 0:
        with on_device_of(distance):
            _backward[(programs,)](grad, distance, hardness, result, parts, result.numel(), **_constants(distance))
    return result, parts.sum().to(hardness.dtype)
