"""The mask of a CRF on a GPU, in place and in one launch; a program has a block of pixels, many taps at a time."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import image_size, index_type, on_device_of

_PIXELS, _TAPS, _WARPS = 64, 16, 4


@triton.jit
def _mask(
    distance, hardness, row_scores, column_scores, taps, kernel_width, height, width, blocks, most: tl.constexpr,
    index: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Write the exponential of how much scores are below the pixel's highest, of all taps but the middle one."""
    image = (tl.program_id(0) // blocks).to(tl.int64)
    distance += image * taps * height * width
    pixel = (tl.program_id(0) % blocks * rows + tl.arange(0, rows)).to(index)
    exists = pixel < height * width
    factor = tl.minimum(tl.load(hardness).to(tl.float32), most)
    top = tl.full((rows,), float("-inf"), tl.float32)
    for writing in tl.static_range(2):
        for first in range(0, taps, columns):
            tap = first + tl.arange(0, columns)
            wanted = (tap < taps)[:, None] & exists[None, :]
            place = distance + tl.cast(tap, index)[:, None] * (height * width) + pixel[None, :]
            length = tl.load(place, mask=wanted, other=0)
            row = row_scores + (tap // kernel_width * height)[:, None] + (pixel // width)[None, :]
            column = column_scores + (tap % kernel_width * width)[:, None] + (pixel % width)[None, :]
            score = tl.where(factor == 0, 0.0, -factor * length)
            score += tl.load(row, mask=wanted, other=0) + tl.load(column, mask=wanted, other=0)
            score = tl.where(wanted & (tap != taps // 2)[:, None], score, float("-inf"))
            if writing:
                tl.store(place, tl.exp(score - top[None, :]), mask=wanted)
            else:
                top = tl.maximum(top, tl.max(score, 0))


def mask(distance: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Write the mask over its distances, see `library.neighbour_mask_`."""
    images, taps, height, width = distance.shape
    blocks = triton.cdiv(height * width, _PIXELS)
    if distance.numel() > 0:
        with on_device_of(distance):
            _mask[(images * blocks,)](
                distance, hardness, rows.contiguous(), columns.contiguous(), taps, len(columns), height, width, blocks,
                torch.finfo(torch.float32).max, index_type(image_size(distance)), _PIXELS, _TAPS, num_warps=_WARPS,
            )  # fmt: skip
