"""What is computed of masks alone: the scales of pixels, scaled masks, and the sum of the parts of their gradient.

A program has a block of pixels, and many taps at a time, so that it waits for memory once and not at every tap.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import Problem, accumulator_type, image_size, index_type

_PIXELS, _TAPS = 128, 16  # of a program, and at a time


@triton.jit
def total_mask(mask, problem, pixel, exists, accumulator: tl.constexpr):
    """Return the sum of the mask of pixels, which is then in the cache."""
    total = tl.zeros(pixel.shape, accumulator)
    for first in range(0, problem.taps, 16):
        tap = first + tl.arange(0, 16)
        place = tl.cast(tap, pixel.dtype)[:, None] * problem.pixels + pixel[None, :]
        wanted = (tap < problem.taps)[:, None] & exists[None, :]
        total += tl.sum(tl.load(mask + place, mask=wanted, other=0).to(accumulator), 0)
    return total


@triton.jit
def _scale_mask(
    mask, scaled, scale, problem, numerator, row_blocks, normalized: tl.constexpr, accumulator: tl.constexpr,
    index: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Compute s_i, and s_i times the mask."""
    image = (tl.program_id(0) // row_blocks).to(tl.int64)
    pixel = (tl.program_id(0) % row_blocks * rows + tl.arange(0, rows)).to(index)
    exists = pixel < problem.pixels
    mask += image * problem.taps * problem.pixels
    scaled += image * problem.taps * problem.pixels
    own = tl.full((rows,), 1, accumulator)
    if normalized:
        own = numerator / total_mask(mask, problem, pixel, exists, accumulator)
    tl.store(scale + image * problem.pixels + pixel, own, mask=exists)
    for first in range(0, problem.taps, columns):
        tap = first + tl.arange(0, columns)
        place = tl.cast(tap, index)[:, None] * problem.pixels + pixel[None, :]
        wanted = (tap < problem.taps)[:, None] & exists[None, :]
        value = tl.load(mask + place, mask=wanted, other=0).to(accumulator)
        tl.store(scaled + place, value * own[None, :], mask=wanted)


@triton.jit
def _part_sum(parts, problem, pixel, tap, exists, count, part_size, accumulator: tl.constexpr):
    """Return the sum of the parts at taps of pixels; 0 where a tap is outside the image, of which no part knows."""
    row = (pixel // problem.out_width * problem.stride_y - problem.top)[None, :]
    col = (pixel % problem.out_width * problem.stride_x - problem.left)[None, :]
    row += (tap // problem.kernel_width * problem.dilation_y)[:, None]
    col += (tap % problem.kernel_width * problem.dilation_x)[:, None]
    inside = exists & (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)
    place = tl.cast(tap, pixel.dtype)[:, None] * problem.pixels + pixel[None, :]
    result = tl.zeros(place.shape, accumulator)
    for _ in range(count):
        result += tl.load(parts + place, mask=inside, other=0)
        parts += part_size
    return result


@triton.jit
def _mask_gradient(
    parts, mask, grad_mask, problem, count, part_size, row_blocks,
    normalized: tl.constexpr, accumulator: tl.constexpr, index: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Add the parts of the mask's gradient in order, and take out what moves the denominator."""
    image = (tl.program_id(0) // row_blocks).to(tl.int64) * problem.taps * problem.pixels
    mask += image
    grad_mask += image
    parts += image
    pixel = (tl.program_id(0) % row_blocks * rows + tl.arange(0, rows)).to(index)
    weighted = tl.zeros((rows,), accumulator)
    if normalized:
        for first in range(0, problem.taps, columns):
            tap = first + tl.arange(0, columns)
            wanted = (tap < problem.taps)[:, None] & (pixel < problem.pixels)[None, :]
            place = tl.cast(tap, index)[:, None] * problem.pixels + pixel[None, :]
            factor = tl.load(mask + place, mask=wanted, other=0).to(accumulator)
            value = _part_sum(parts, problem, pixel, tap, wanted, count, part_size, accumulator)
            weighted += tl.sum(factor * value, 0)
        weighted /= total_mask(mask, problem, pixel, pixel < problem.pixels, accumulator)
    for first in range(0, problem.taps, columns):
        tap = first + tl.arange(0, columns)
        wanted = (tap < problem.taps)[:, None] & (pixel < problem.pixels)[None, :]
        place = tl.cast(tap, index)[:, None] * problem.pixels + pixel[None, :]
        value = _part_sum(parts, problem, pixel, tap, wanted, count, part_size, accumulator) - weighted[None, :]
        tl.store(grad_mask + place, value.to(grad_mask.dtype.element_ty), mask=wanted)


def scale_mask(mask: Tensor, problem: Problem, numerator: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return all s_i m_ik (N, K, Ho, Wo) and all s_i (N, Ho, Wo), of a dtype; `numerator` is that of s_i, 0 for none.

    They are wide enough for kernels to copy asynchronously, which takes 4 bytes.
    """
    scaled, scale = torch.empty_like(mask, dtype=dtype), mask.new_empty(len(mask), *mask.shape[2:], dtype=dtype)
    if mask.numel() > 0:
        row_blocks = triton.cdiv(problem.pixels, _PIXELS)
        _scale_mask[(len(mask) * row_blocks,)](
            mask, scaled, scale, problem, numerator, row_blocks, normalized=numerator > 0,
            accumulator=accumulator_type(scale), index=index_type(image_size(mask)), rows=_PIXELS, columns=_TAPS,
        )  # fmt: skip
    return scaled, scale


def sum_parts(parts: Tensor, mask: Tensor, problem: Problem, normalized: bool) -> Tensor:
    """Return the gradient of the mask, given what every block of channels gives to it, or nothing if there are none."""
    grad_mask = torch.empty_like(mask if len(parts) else mask[:0])
    if grad_mask.numel() > 0:
        row_blocks = triton.cdiv(problem.pixels, _PIXELS)
        _mask_gradient[(len(mask) * row_blocks,)](
            parts, mask, grad_mask, problem, len(parts), mask.numel(), row_blocks, normalized=normalized,
            accumulator=accumulator_type(parts), index=index_type(image_size(mask)), rows=_PIXELS, columns=_TAPS,
        )  # fmt: skip
    return grad_mask
