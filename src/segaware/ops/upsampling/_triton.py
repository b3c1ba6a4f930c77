"""Joint bilateral upsampling and its gradients on a GPU.

A program has a block of pixels, and computes the distances of all their taps, channel by channel, then the masks, then
what these make of every channel of the values. Backward it writes the masks, and the gradients of the distances, for
programs that have one coarse point and gather what all pixels give to it that see it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import accumulator_type, image_size, index_type, on_device_of
from segaware.ops.arguments import compute_dtype
from segaware.ops.upsampling.taps import taps_at

_TILE = 2048  # numbers: pixels times taps, most of them
_COLUMNS = 32  # channels of a point, most of them
_WARPS = 4


class Problem(NamedTuple):
    """The numbers of one call that every kernel needs."""

    channels: int  # of the values
    dim: int  # of the embeddings
    height: int
    width: int
    plane: int
    points_height: int
    points_width: int
    points: int
    side: int  # taps along a side
    taps: int


class _Call:
    """The arguments of the operator as kernels take them."""

    def __init__(
        self, input: Tensor, embedding: Tensor, coarse_embedding: Tensor, rows: Tensor, columns: Tensor, radius: int
    ) -> None:
        (channels, *points), (dim, height, width) = input.shape[1:], embedding.shape[1:]
        self.problem = Problem(
            channels,
            dim,
            height,
            width,
            height * width,
            points[0],
            points[1],
            points[0] * points[1],
            2 * radius,
            4 * radius**2,
        )
        self.tables: list[Tensor] = []
        self.ranges: list[Tensor] = []
        for place, n in zip((rows, columns), points, strict=True):
            seen = taps_at(place, n, radius)
            self.tables += seen.points.int(), seen.weight.to(compute_dtype(input))
            # The first pixel that sees a point, that behind the last; and the point at every pixel's first tap.
            point = torch.arange(n, device=place.device, dtype=place.dtype)
            self.ranges += (
                torch.searchsorted(place, point - radius, right=True).int(),
                torch.searchsorted(place, point + radius).int(),
                (place.floor() + (1 - radius)).int(),
            )
        self.columns = triton.next_power_of_2(self.problem.taps)
        self.rows = max(16, _TILE // self.columns)
        self.blocks = triton.cdiv(self.problem.plane, self.rows)
        self.accumulator = accumulator_type(input)
        # Backward, masks and the gradients of distances are the largest.
        self.index = index_type(image_size(input), image_size(embedding), self.problem.plane * self.problem.taps)


@triton.jit
def _masks(
    embedding, coarse, hardness, rows, row_weights, columns, column_weights, problem, image, pixel,
    accumulator: tl.constexpr, index: tl.constexpr, taps: tl.constexpr,
):  # fmt: skip
    """Return the points that pixels see (taps, pixels), whether there are such, the distances, and the masks."""
    exists, tap = pixel < problem.plane, tl.arange(0, taps)
    down, across = (tap // problem.side)[:, None], (tap % problem.side)[:, None]
    y, x = (pixel // problem.width)[None, :], (pixel % problem.width)[None, :]
    is_tap = (tap < problem.taps)[:, None] & exists[None, :]
    row = tl.load(rows + down * problem.height + y, mask=is_tap, other=0)
    column = tl.load(columns + across * problem.width + x, mask=is_tap, other=0)
    point = row.to(index) * problem.points_width + column
    weight = tl.load(row_weights + down * problem.height + y, mask=is_tap, other=0)
    weight *= tl.load(column_weights + across * problem.width + x, mask=is_tap, other=0)
    distance = tl.zeros(point.shape, accumulator)
    here = embedding + image * problem.dim * problem.plane + pixel
    there = coarse + image * problem.dim * problem.points + point
    for _ in range(problem.dim):
        own = tl.load(here, mask=exists, other=0).to(accumulator)
        distance += tl.abs(own[None, :] - tl.load(there, mask=is_tap, other=0).to(accumulator))
        here += problem.plane
        there += problem.points
    scale = tl.load(hardness)
    score = tl.where(is_tap, tl.where(scale == 0, 0.0, -scale * distance), float("-inf"))
    highest = tl.where(exists, tl.max(score, 0), 0)
    mask = weight * tl.exp(score - highest[None, :])
    mask /= tl.where(exists, tl.sum(mask, 0), 1)[None, :]
    return point, is_tap, distance, mask


@triton.jit
def _forward(
    input, embedding, coarse, hardness, output, rows, row_weights, columns, column_weights, problem, blocks,
    accumulator: tl.constexpr, index: tl.constexpr, pixels: tl.constexpr, taps: tl.constexpr,
):  # fmt: skip
    """Compute all channels of a block of pixels."""
    image = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = (tl.program_id(0) % blocks * pixels + tl.arange(0, pixels)).to(index)
    point, is_tap, _, mask = _masks(
        embedding, coarse, hardness, rows, row_weights, columns, column_weights, problem, image, pixel,
        accumulator, index, taps,
    )  # fmt: skip
    there = input + image * problem.channels * problem.points + point
    here = output + image * problem.channels * problem.plane + pixel
    for _ in range(problem.channels):
        sums = tl.sum(mask * tl.load(there, mask=is_tap, other=0).to(accumulator), 0)
        tl.store(here, sums.to(output.dtype.element_ty), mask=pixel < problem.plane)
        there += problem.points
        here += problem.plane


@triton.jit
def _pixel_gradients(
    grad, input, embedding, coarse, hardness, output, embedding_gradient, masks, factors, hardness_parts, rows,
    row_weights, columns, column_weights, problem, blocks,
    accumulator: tl.constexpr, index: tl.constexpr, pixels: tl.constexpr, taps: tl.constexpr,
):  # fmt: skip
    """Compute the masks of a block of pixels, the gradients of their distances, and with these of their embeddings."""
    image = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = (tl.program_id(0) % blocks * pixels + tl.arange(0, pixels)).to(index)
    exists = pixel < problem.plane
    point, is_tap, distance, mask = _masks(
        embedding, coarse, hardness, rows, row_weights, columns, column_weights, problem, image, pixel,
        accumulator, index, taps,
    )  # fmt: skip
    factor = tl.zeros(point.shape, accumulator)
    here = image * problem.channels * problem.plane + pixel
    there = input + image * problem.channels * problem.points + point
    for _ in range(problem.channels):
        gradient = tl.load(grad + here, mask=exists, other=0).to(accumulator)
        mean = tl.load(output + here, mask=exists, other=0).to(accumulator)
        factor += gradient[None, :] * (mean[None, :] - tl.load(there, mask=is_tap, other=0).to(accumulator))
        here += problem.plane
        there += problem.points
    factor *= mask
    share = tl.sum(factor * tl.where(distance < float("inf"), distance, 0), 0)
    tl.store(hardness_parts + tl.program_id(0), tl.sum(tl.where(exists, share, 0), 0))
    factor *= tl.load(hardness)
    place = (
        image * problem.taps * problem.plane + tl.arange(0, taps).to(index)[:, None] * problem.plane + pixel[None, :]
    )
    tl.store(masks + place, mask, mask=is_tap)
    tl.store(factors + place, factor, mask=is_tap)
    here = image * problem.dim * problem.plane + pixel
    there = coarse + image * problem.dim * problem.points + point
    for _ in range(problem.dim):
        own = tl.load(embedding + here, mask=exists, other=0).to(accumulator)[None, :]
        other = tl.load(there, mask=is_tap, other=0).to(accumulator)
        sums = tl.sum(tl.where(is_tap & (own > other), factor, 0) - tl.where(is_tap & (own < other), factor, 0), 0)
        tl.store(embedding_gradient + here, sums.to(embedding_gradient.dtype.element_ty), mask=exists)
        here += problem.plane
        there += problem.points


@triton.jit
def _point_gradients(
    values, coarse, weights, result, first_rows, end_rows, row_taps, first_columns, end_columns, column_taps, channels,
    problem, signs: tl.constexpr,
    accumulator: tl.constexpr, index: tl.constexpr, pixels: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Sum over the pixels that see a point, in some channels, their values times the point's weight with them.

    Or the weight with the sign of how much the point is above the pixel.
    """
    image = (tl.program_id(0) // problem.points).to(tl.int64)
    point = tl.program_id(0) % problem.points
    row, column = point // problem.points_width, point % problem.points_width
    top, left = tl.load(first_rows + row), tl.load(first_columns + column)
    height, width = tl.load(end_rows + row) - top, tl.load(end_columns + column) - left
    channel = (tl.program_id(1) * columns + tl.arange(0, columns)).to(index)
    kept = (channel < channels)[:, None]
    at = result + image * channels * problem.points + channel * problem.points + point
    here = coarse + image * channels * problem.points + channel * problem.points + point
    weights += image * problem.taps * problem.plane
    values += image * channels * problem.plane + (channel * problem.plane)[:, None]
    sums = tl.zeros((columns, pixels), accumulator)
    own = tl.load(here, mask=channel < channels, other=0).to(accumulator)[:, None]
    for start in range(0, height * width, pixels):
        seen = start + tl.arange(0, pixels)
        exists = seen < height * width
        y, x = top + seen // width, left + seen % width
        down = row - tl.load(row_taps + y, mask=exists, other=0)
        across = column - tl.load(column_taps + x, mask=exists, other=0)
        pixel = y.to(index) * problem.width + x
        tap = (down * problem.side + across).to(index)
        weight = tl.load(weights + tap * problem.plane + pixel, mask=exists, other=0)[None, :]
        value = tl.load(values + pixel[None, :], mask=kept & exists[None, :], other=0).to(accumulator)
        if signs:
            sums += tl.where(own > value, weight, 0) - tl.where(own < value, weight, 0)
        else:
            sums += weight * value
    tl.store(at, tl.sum(sums, 1).to(result.dtype.element_ty), mask=channel < channels)


def forward(
    input: Tensor, embedding: Tensor, coarse_embedding: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor,
    radius: int,
) -> Tensor:  # fmt: skip
    """Return the upsampled input (N, C, H, W)."""
    input, embedding, coarse_embedding = (t.contiguous() for t in (input, embedding, coarse_embedding))
    call = _Call(input, embedding, coarse_embedding, rows, columns, radius)
    output = input.new_empty(*input.shape[:2], *embedding.shape[2:])
    if output.numel() > 0:
        with on_device_of(input):
            _forward[(len(input) * call.blocks,)](
                input, embedding, coarse_embedding, hardness, output, *call.tables, call.problem, call.blocks,
                call.accumulator, call.index, call.rows, call.columns, num_warps=_WARPS,
            )  # fmt: skip
    return output


def backward(
    gradient: Tensor, input: Tensor, embedding: Tensor, coarse_embedding: Tensor, hardness: Tensor, rows: Tensor,
    columns: Tensor, output: Tensor, radius: int, needed: list[bool],
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the gradients of input, both embeddings and hardness, empty tensors for those that are not needed."""
    gradient, input, embedding, coarse_embedding, output = (
        t.contiguous() for t in (gradient, input, embedding, coarse_embedding, output)
    )
    call = _Call(input, embedding, coarse_embedding, rows, columns, radius)
    problem, programs = call.problem, len(input) * call.blocks
    masks, factors = torch.empty(
        (2, len(input), problem.taps, problem.plane), dtype=compute_dtype(input), device=input.device
    )
    embedding_gradient, parts = torch.empty_like(embedding), masks.new_empty(programs)
    input_gradient, coarse_gradient = (
        t.new_empty(t.shape if need else 0) for t, need in ((input, needed[0]), (coarse_embedding, needed[2]))
    )
    if programs > 0:
        with on_device_of(input):
            _pixel_gradients[(programs,)](
                gradient, input, embedding, coarse_embedding, hardness, output, embedding_gradient, masks, factors,
                parts, *call.tables, problem, call.blocks, call.accumulator, call.index, call.rows, call.columns,
                num_warps=_WARPS,
            )  # fmt: skip
            for values, points, weights, result, signs in (
                (gradient, input, masks, input_gradient, False),
                (embedding, coarse_embedding, factors, coarse_gradient, True),
            ):
                if result.numel() > 0:
                    block = min(_COLUMNS, triton.next_power_of_2(values.shape[1]))
                    _point_gradients[(len(input) * problem.points, triton.cdiv(values.shape[1], block))](
                        values, points, weights, result, *call.ranges, values.shape[1], problem, signs,
                        call.accumulator, call.index, 64, block, num_warps=_WARPS,
                    )  # fmt: skip
    gradients = input_gradient, embedding_gradient, coarse_gradient, parts.sum().to(hardness.dtype)
    return tuple(t if need else t.new_empty(0) for t, need in zip(gradients, needed, strict=True))
