"""Depthwise convolution, and groups too narrow for matrix units: every product is a multiplication of its own.

With so few products for each number that is read, memory is what takes time. So programs have runs of channels, in the
order of memory, and what neighbouring pixels see comes from the cache. Equations are those of `_triton/__init__.py`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import PROGRAMS, Problem, Tile, accumulator_type, image_size, index_type
from segaware.ops.convolution._triton.masks import sum_parts
from segaware.ops.window import Window

# Rows are pixels, columns filters or channels, at most; depth is the taps unrolled, or of a program that has several.
TILES = {
    "forward": Tile(32, 64, 2, 4, 1),
    "input gradient": Tile(32, 64, 2, 4, 1),
    "weight gradient": Tile(32, 32, 8, 4, 1),
}
_ACCUMULATORS = 32 * 32 * 4  # of a program of 4 warps: 32 registers of each thread
_LEAST_BLOCKS = 8  # of pixels, that are worth a part of the weight's gradient of their own


@triton.jit
def _forward(
    input, weight, mask, bias, output, problem, numerator, filters, group_channels, group_filters, row_blocks,
    column_blocks, has_bias: tl.constexpr, normalized: tl.constexpr, accumulator: tl.constexpr, index: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Compute a tile: pixels of one image by filters of any groups."""
    program = tl.program_id(0)
    image = (program // column_blocks // row_blocks).to(tl.int64)
    input += image * problem.channels * problem.plane
    mask += image * problem.taps * problem.pixels
    output += image * problem.pixels * filters
    pixel = (program // column_blocks % row_blocks * rows + tl.arange(0, rows)).to(index)
    filter = (program % column_blocks * columns + tl.arange(0, columns)).to(index)
    exists, kept = pixel < problem.pixels, filter < filters
    first_channel = filter // group_filters * group_channels
    y = pixel // problem.out_width * problem.stride_y - problem.top
    x = pixel % problem.out_width * problem.stride_x - problem.left

    result = tl.zeros((rows, columns), accumulator)
    total = tl.zeros((rows,), accumulator)
    for tap in tl.range(0, problem.taps, loop_unroll_factor=depth):
        row = y + tap // problem.kernel_width * problem.dilation_y
        col = x + tap % problem.kernel_width * problem.dilation_x
        inside = exists & (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)
        factor = tl.load(mask + tl.cast(tap, index) * problem.pixels + pixel, mask=exists, other=0).to(accumulator)
        total += factor
        product = tl.zeros((rows, columns), accumulator)
        for channel in range(group_channels):
            seen = tl.load(
                input + (row * problem.width + col)[:, None] * problem.channels + (first_channel + channel)[None, :],
                mask=inside[:, None] & kept[None, :], other=0,
            )  # fmt: skip
            taken = tl.load(weight + (filter * problem.taps + tap) * group_channels + channel, mask=kept, other=0)
            product += seen.to(accumulator) * taken.to(accumulator)[None, :]
        result += factor[:, None] * product
    if normalized:
        result *= (numerator / total)[:, None]
    if has_bias:
        result += tl.load(bias + filter, mask=kept, other=0).to(accumulator)[None, :]
    place = output + pixel[:, None] * filters + filter[None, :]
    tl.store(place, result.to(output.dtype.element_ty), mask=exists[:, None] & kept[None, :])


@triton.jit
def _input_gradient(
    grad, input, weight, scaled_mask, scale, grad_input, parts, problem, filters, group_channels, group_filters,
    row_blocks, column_blocks, part_size, with_mask: tl.constexpr, accumulator: tl.constexpr, index: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Compute a tile of the input's gradient, pixels by channels of any groups, and what these give to the mask's.

    That is a part for every block of channels, as of the matrix products (input_gradient.py).
    """
    program = tl.program_id(0)
    image = (program // column_blocks // row_blocks).to(tl.int64)
    grad += image * problem.pixels * filters
    scaled_mask += image * problem.taps * problem.pixels
    scale += image * problem.pixels
    parts += (program % column_blocks).to(tl.int64) * part_size + image * problem.taps * problem.pixels
    pixel = (program // column_blocks % row_blocks * rows + tl.arange(0, rows)).to(index)
    channel = (program % column_blocks * columns + tl.arange(0, columns)).to(index)
    exists, kept = pixel < problem.plane, channel < problem.channels
    first_filter, in_group = channel // group_channels * group_filters, channel % group_channels
    y, x = pixel // problem.width + problem.top, pixel % problem.width + problem.left
    place = (image * problem.plane + pixel[:, None]) * problem.channels + channel[None, :]
    if with_mask:
        own = tl.load(input + place, mask=exists[:, None] & kept[None, :], other=0).to(accumulator)

    result = tl.zeros((rows, columns), accumulator)
    for tap in tl.range(0, problem.taps, loop_unroll_factor=depth):
        down = y - tap // problem.kernel_width * problem.dilation_y
        right = x - tap % problem.kernel_width * problem.dilation_x
        row, col = down // problem.stride_y, right // problem.stride_x
        inside = exists & (down >= 0) & (row < problem.out_height) & (right >= 0) & (col < problem.out_width)
        inside &= (row * problem.stride_y == down) & (col * problem.stride_x == right)
        window = row * problem.out_width + col
        product = tl.zeros((rows, columns), accumulator)
        for filter in range(group_filters):
            seen = tl.load(
                grad + window[:, None] * filters + (first_filter + filter)[None, :],
                mask=inside[:, None] & kept[None, :], other=0,
            )  # fmt: skip
            taken = tl.load(
                weight + ((first_filter + filter) * problem.taps + tap) * group_channels + in_group, mask=kept, other=0
            )
            product += seen.to(accumulator) * taken.to(accumulator)[None, :]
        at = tl.cast(tap, index) * problem.pixels + window
        factor = tl.load(scaled_mask + at, mask=inside, other=0)
        if with_mask:
            window_scale = tl.load(scale + window, mask=inside, other=0)
            tl.store(parts + at, window_scale * tl.sum(product * own, 1), mask=inside)
        result += factor[:, None] * product
    tl.store(grad_input + place, result.to(grad_input.dtype.element_ty), mask=exists[:, None] & kept[None, :])


@triton.jit
def _weight_gradient(
    grad, input, scaled_mask, parts, problem, filters, group_channels, group_filters, images, tap_blocks,
    column_blocks, pixel_blocks, shares, part_size, accumulator: tl.constexpr, index: tl.constexpr, rows: tl.constexpr,
    columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Compute a part of the gradient, that of a share of pixels: some filters at some taps of a row of the window.

    A gradient of the output that is read serves all those taps, and what they see overlaps.
    """
    program = tl.program_id(0)
    filter = (program % column_blocks * columns + tl.arange(0, columns)).to(index)
    rest = program // column_blocks
    tap_column = rest % tap_blocks * depth + tl.arange(0, depth)
    tap_row = rest // tap_blocks % problem.kernel_height
    rest = rest // tap_blocks // problem.kernel_height
    channel, share = rest % group_channels, rest // group_channels
    tap = tl.cast(tap_row * problem.kernel_width + tap_column, index)
    kept, is_tap = filter < filters, tap_column < problem.kernel_width
    seen_channel = filter // group_filters * group_channels + channel
    down, right = tap_row * problem.dilation_y - problem.top, tap_column * problem.dilation_x - problem.left

    result = tl.zeros((depth, rows, columns), accumulator)
    blocks = images * pixel_blocks
    for block in range(share * blocks // shares, (share + 1) * blocks // shares):
        image = (block // pixel_blocks).to(tl.int64)
        pixel = (block % pixel_blocks * rows + tl.arange(0, rows)).to(index)
        y = pixel // problem.out_width * problem.stride_y + down
        x = (pixel % problem.out_width * problem.stride_x)[None, :] + right[:, None]
        inside = ((pixel < problem.pixels) & (y >= 0) & (y < problem.height))[None, :] & is_tap[:, None]
        inside &= (x >= 0) & (x < problem.width)
        at = (image * problem.taps + tap[:, None]) * problem.pixels + pixel[None, :]
        factor = tl.load(scaled_mask + at, mask=inside, other=0)
        gradient = tl.load(
            grad + (image * problem.pixels + pixel[:, None]) * filters + filter[None, :],
            mask=(pixel < problem.pixels)[:, None] & kept[None, :], other=0,
        ).to(accumulator)  # fmt: skip
        seen = tl.load(
            input + image * problem.channels * problem.plane
            + (y[None, :] * problem.width + x)[:, :, None] * problem.channels + seen_channel[None, None, :],
            mask=inside[:, :, None] & kept[None, None, :], other=0,
        )  # fmt: skip
        result += factor[:, :, None] * seen.to(accumulator) * gradient[None, :, :]
    place = (filter[None, :] * problem.taps + tap[:, None]) * group_channels + channel
    tl.store(parts + share.to(tl.int64) * part_size + place, tl.sum(result, 1), mask=is_tap[:, None] & kept[None, :])


def compute_output(
    input: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, window: Window, groups: int, numerator: int
) -> Tensor:
    """Return the output, channels-last as the input and the weight; `numerator` is that of s_i, 0 for no division."""
    problem, (filters, group_channels), tile = Problem.of(input, window), weight.shape[:2], TILES["forward"]
    images, columns = input.shape[0], min(tile.columns, triton.next_power_of_2(filters))
    output = input.new_empty(images, problem.out_height, problem.out_width, filters).permute(0, 3, 1, 2)
    row_blocks, column_blocks = triton.cdiv(problem.pixels, tile.rows), triton.cdiv(filters, columns)
    if output.numel() > 0:
        _forward[(images * row_blocks * column_blocks,)](
            input, weight, mask, bias, output, problem, numerator, filters, group_channels, filters // groups,
            row_blocks, column_blocks, bias is not None, numerator > 0, accumulator_type(input),
            _index_type(input, output, mask, weight), tile.rows, columns, tile.depth, num_warps=tile.warps,
        )  # fmt: skip
    return output


def backward_input(
    grad: Tensor, input: Tensor, weight: Tensor, mask: Tensor, scaled_mask: Tensor, scale: Tensor, window: Window,
    groups: int, normalized: bool, with_mask: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the gradients of input and mask, as `input_gradient.backward_input`."""
    problem, (filters, group_channels), tile = Problem.of(input, window), weight.shape[:2], TILES["input gradient"]
    images, columns = input.shape[0], min(tile.columns, triton.next_power_of_2(problem.channels))
    grad_input = torch.empty_like(input)
    row_blocks, column_blocks = triton.cdiv(problem.plane, tile.rows), triton.cdiv(problem.channels, columns)
    parts = scale.new_empty(column_blocks if with_mask else 0, *mask.shape)
    if input.numel() > 0:
        _input_gradient[(images * row_blocks * column_blocks,)](
            grad, input, weight, scaled_mask, scale, grad_input, parts, problem, filters, group_channels,
            filters // groups, row_blocks, column_blocks, mask.numel(), with_mask, accumulator_type(input),
            _index_type(input, grad, mask, weight), tile.rows, columns, tile.depth, num_warps=tile.warps,
        )  # fmt: skip
    return grad_input, sum_parts(parts, mask, problem, normalized)


def backward_weight(
    grad: Tensor, input: Tensor, weight: Tensor, scaled_mask: Tensor, window: Window, groups: int
) -> Tensor:
    """Return the gradient, channels-last; `scaled_mask` are all s_i m_ik."""
    problem, (filters, group_channels), tile = Problem.of(input, window), weight.shape[:2], TILES["weight gradient"]
    depth = min(tile.depth, triton.next_power_of_2(problem.kernel_width))
    columns = min(tile.columns, triton.next_power_of_2(filters))
    rows = min(tile.rows, _ACCUMULATORS // (depth * columns))
    images, column_blocks = input.shape[0], triton.cdiv(filters, columns)
    tap_blocks, pixel_blocks = triton.cdiv(problem.kernel_width, depth), triton.cdiv(problem.pixels, rows)
    tiles = column_blocks * tap_blocks * problem.kernel_height * group_channels
    # As many as fill a GPU, of shapes alone, so that every GPU adds in the same order.
    shares = max(1, min(triton.cdiv(8 * PROGRAMS, tiles), images * pixel_blocks // _LEAST_BLOCKS))
    parts = scaled_mask.new_empty(shares, *weight.permute(0, 2, 3, 1).shape)
    _weight_gradient[(tiles * shares,)](
        grad, input, scaled_mask, parts, problem, filters, group_channels, filters // groups, images, tap_blocks,
        column_blocks, pixel_blocks, shares, weight.numel(), accumulator_type(input),
        _index_type(input, grad, scaled_mask, weight), rows, columns, depth, num_warps=tile.warps,
    )  # fmt: skip
    return parts.sum(0).to(weight.dtype).permute(0, 3, 1, 2)


def _index_type(input: Tensor, output: Tensor, mask: Tensor, weight: Tensor) -> tl.dtype:
    return index_type(image_size(input), image_size(output), image_size(mask), weight.numel())
