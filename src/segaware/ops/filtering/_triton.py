"""Eq. 4 and its gradients on a GPU.

A program has a block of pixels. It gathers, tap by tap, what they see of some channels, with the weight of the tap;
backward, what the windows that see them had as gradients. The gradient of the mask sums over channels instead, for
some taps at once.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import Problem, Tile, accumulator_type, image_size, index_type, on_device_of
from segaware.ops.arguments import compute_dtype
from segaware.ops.window import Window

# Rows are pixels; columns are channels, or taps, most of them; depth is the taps, or channels, unrolled.
TILES = {"values": Tile(32, 32, 2, 4, 1), "mask gradient": Tile(64, 16, 4, 4, 1)}


@triton.jit
def _weighted_sums(
    values, mask, inverse, result, total, problem, blocks, backward: tl.constexpr, exclude: tl.constexpr,
    accumulator: tl.constexpr, index: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Compute the mean of windows, or backward the sum over the windows that see a pixel, in some channels."""
    image = (tl.program_id(0) // blocks).to(tl.int64)
    mask += image * problem.taps * problem.plane
    inverse += image * problem.plane
    pixel = (tl.program_id(0) % blocks * rows + tl.arange(0, rows)).to(index)
    channel = (tl.program_id(1) * columns + tl.arange(0, columns)).to(index)
    planes = image * problem.channels * problem.plane + channel[:, None] * problem.plane
    exists, kept = pixel < problem.plane, channel < problem.channels
    y, x = pixel // problem.width, pixel % problem.width
    sums = tl.zeros((columns, rows), accumulator)
    weights = tl.zeros((rows,), accumulator)
    for tap in tl.range(0, problem.taps, loop_unroll_factor=depth):
        down = tap // problem.kernel_width * problem.dilation_y - problem.top
        right = tap % problem.kernel_width * problem.dilation_x - problem.left
        if backward:
            row, col = y - down, x - right
        else:
            row, col = y + down, x + right
        inside = exists & (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)
        there = row * problem.width + col
        plane = tl.cast(tap, index) * problem.plane
        if backward:
            weight = tl.load(mask + plane + there, mask=inside, other=0).to(accumulator)
            weight *= tl.load(inverse + there, mask=inside, other=0)
        else:
            weight = tl.load(mask + plane + pixel, mask=inside if exclude else exists, other=0).to(accumulator)
            weights += weight
        value = tl.load(values + planes + there[None, :], mask=kept[:, None] & inside[None, :], other=0)
        sums += weight[None, :] * value.to(accumulator)
    if not backward:
        sums /= weights[None, :]
        if tl.program_id(1) == 0:
            tl.store(total + image * problem.plane + pixel, weights, mask=exists)
    tl.store(result + planes + pixel[None, :], sums.to(result.dtype.element_ty), mask=kept[:, None] & exists[None, :])


@triton.jit
def _mask_gradient(
    grad, input, output, inverse, result, problem, blocks, exclude: tl.constexpr,
    accumulator: tl.constexpr, index: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Compute sum_c g_c (x_kc - y_c) / sum_k m_k at some taps k."""
    image = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = (tl.program_id(0) % blocks * rows + tl.arange(0, rows)).to(index)
    tap = tl.program_id(1) * columns + tl.arange(0, columns)
    exists = pixel < problem.plane
    down = tap // problem.kernel_width * problem.dilation_y - problem.top
    right = tap % problem.kernel_width * problem.dilation_x - problem.left
    row = (pixel // problem.width)[None, :] + down[:, None]
    col = (pixel % problem.width)[None, :] + right[:, None]
    is_tap = (tap < problem.taps)[:, None] & exists[None, :]
    inside = is_tap & (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)
    sums = tl.zeros((columns, rows), accumulator)
    mean = tl.zeros((rows,), accumulator)
    here = image * problem.channels * problem.plane + pixel
    there = input + image * problem.channels * problem.plane + row * problem.width + col
    for _ in tl.range(0, problem.channels, loop_unroll_factor=depth):
        gradient = tl.load(grad + here, mask=exists, other=0).to(accumulator)
        mean += gradient * tl.load(output + here, mask=exists, other=0).to(accumulator)
        sums += gradient[None, :] * tl.load(there, mask=inside, other=0).to(accumulator)
        here += problem.plane
        there += problem.plane
    sums = (sums - mean[None, :]) * tl.load(inverse + image * problem.plane + pixel, mask=exists, other=0)[None, :]
    if exclude:
        sums = tl.where(inside, sums, 0)
    place = (
        result + image * problem.taps * problem.plane + tl.cast(tap, index)[:, None] * problem.plane + pixel[None, :]
    )
    tl.store(place, sums.to(result.dtype.element_ty), mask=is_tap)


def _sum_taps(
    values: Tensor, mask: Tensor, inverse: Tensor, result: Tensor, total: Tensor, window: Window, border: str,
    backward: bool,
) -> None:  # fmt: skip
    problem, tile = Problem.of(values, window), TILES["values"]
    columns = min(tile.columns, triton.next_power_of_2(max(problem.channels, 1)))
    blocks = triton.cdiv(problem.plane, tile.rows)
    with on_device_of(values):
        _weighted_sums[(values.shape[0] * blocks, max(1, triton.cdiv(problem.channels, columns)))](
            values, mask, inverse, result, total, problem, blocks, backward, border == "exclude",
            accumulator_type(values), index_type(image_size(values), image_size(mask)), tile.rows, columns, tile.depth,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip


def forward(input: Tensor, mask: Tensor, window: Window, border: str) -> tuple[Tensor, Tensor]:
    """Return the filtered input (N, C, H, W), and the sums of the mask that it is divided by (N, 1, H, W)."""
    input, mask = input.contiguous(), mask.contiguous()
    output = input.new_empty(input.shape)
    total = mask.new_empty(mask[:, :1].shape, dtype=compute_dtype(mask))
    if total.numel() > 0:
        _sum_taps(input, mask, total, output, total, window, border, backward=False)
    return output, total


def backward(
    gradient: Tensor,
    input: Tensor,
    mask: Tensor,
    output: Tensor,
    total: Tensor,
    window: Window,
    border: str,
    needed: list[bool],
) -> tuple[Tensor, Tensor]:
    """Return the gradients of input and mask, empty tensors for those that are not needed."""
    gradient, input, mask, output = (t.contiguous() for t in (gradient, input, mask, output))
    input_gradient, mask_gradient = (
        t.new_empty(t.shape if need else 0) for t, need in zip((input, mask), needed, strict=True)
    )
    inverse = total.reciprocal()
    if input_gradient.numel() > 0:
        _sum_taps(gradient, mask, inverse, input_gradient, inverse, window, border, backward=True)
    if mask_gradient.numel() > 0:
        problem, tile = Problem.of(input, window), TILES["mask gradient"]
        columns = min(tile.columns, triton.next_power_of_2(window.size))
        blocks = triton.cdiv(problem.plane, tile.rows)
        with on_device_of(input):
            _mask_gradient[(input.shape[0] * blocks, triton.cdiv(window.size, columns))](
                gradient, input, output, inverse, mask_gradient, problem, blocks, border == "exclude",
                accumulator_type(input), index_type(image_size(input), image_size(mask)), tile.rows, columns,
                tile.depth, num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return input_gradient, mask_gradient
