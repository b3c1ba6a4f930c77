"""The output: what is seen at each tap times its filters, times the mask."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import Problem, Tile, Tiles, choose_tile, constants, image_size, precision_of
from segaware.ops.convolution._triton.masks import total_mask
from segaware.ops.window import Window

TILES: Tiles = {
    ("forward", "half"): (Tile(128, 128, 64, 8, 4, "factor"), Tile(64, 64, 64, 4, 4, "factor")),
    ("forward", "tf32"): (Tile(128, 128, 32, 8, 3, "factor"), Tile(64, 64, 32, 4, 4, "factor")),
    ("forward", "ieee"): (Tile(64, 64, 16, 4, 3), Tile(32, 64, 16, 4, 3)),
    ("forward", "double"): (Tile(32, 32, 16, 4, 2),),
}


@triton.jit
def tap_rows(low, high, size, step, taps):
    """Return the rows of taps first..stop-1 of windows that begin at rows low..high at which one may see the image."""
    first = tl.minimum(tl.maximum((step - 1 - high) // step, 0), taps)
    return first, tl.minimum(tl.maximum((size - low + step - 1) // step, first), taps)


@triton.jit
def _forward(
    input, weight, mask, bias, output, problem, numerator, filters, groups, row_blocks, column_blocks,
    has_bias: tl.constexpr, normalized: tl.constexpr, masked: tl.constexpr, precision: tl.constexpr,
    operand: tl.constexpr, accumulator: tl.constexpr, index: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
    depth: tl.constexpr,
):  # fmt: skip
    """Compute a tile: pixels of one image by filters of one group. Neighbouring programs see the same pixels."""
    program = tl.program_id(0)
    block = program // (groups * column_blocks) % row_blocks
    image = (program // (groups * column_blocks) // row_blocks).to(tl.int64)
    group = program % (groups * column_blocks) // column_blocks
    group_channels, group_filters = problem.channels // groups, filters // groups
    input += image * problem.channels * problem.plane + group * group_channels
    mask += image * problem.taps * problem.pixels
    output += image * problem.pixels * filters

    pixel = (block * rows + tl.arange(0, rows)).to(index)
    exists = pixel < problem.pixels
    y = pixel // problem.out_width * problem.stride_y - problem.top
    x = pixel % problem.out_width * problem.stride_x - problem.left
    last = tl.minimum(block * rows + rows, problem.pixels) - 1
    first_row, stop_row = tap_rows(
        block * rows // problem.out_width * problem.stride_y - problem.top,
        last // problem.out_width * problem.stride_y - problem.top,
        problem.height, problem.dilation_y, problem.kernel_height,
    )  # fmt: skip
    column = program % column_blocks * columns + tl.arange(0, columns)
    kept = column < group_filters
    filter = (group * group_filters + column).to(index)

    if normalized:  # first, for this brings the mask into the cache, and loads of it below are waited for
        total = total_mask(mask, problem, pixel, exists, accumulator)
    result = tl.zeros((rows, columns), accumulator)
    product = tl.zeros((rows, columns), accumulator)
    chunks = tl.cdiv(group_channels, depth)
    for step in range(first_row * problem.kernel_width * chunks, stop_row * problem.kernel_width * chunks):
        tap, chunk = step // chunks, step % chunks
        row = y + tap // problem.kernel_width * problem.dilation_y
        col = x + tap % problem.kernel_width * problem.dilation_x
        inside = exists & (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)
        channel = chunk * depth + tl.arange(0, depth)
        seen = tl.load(
            input + (row * problem.width + col)[:, None] * problem.channels + channel[None, :],
            mask=inside[:, None] & (channel < group_channels)[None, :], other=0,
        )  # fmt: skip
        taken = tl.load(
            weight + (filter * problem.taps + tap)[None, :] * group_channels + channel[:, None],
            mask=kept[None, :] & (channel < group_channels)[:, None], other=0,
        )  # fmt: skip
        factor = tl.load(mask + tl.cast(tap, index) * problem.pixels + pixel, mask=inside, other=0).to(accumulator)
        if masked == "factor":
            seen = (seen.to(accumulator) * factor[:, None]).to(seen.dtype)
            result = tl.dot(seen.to(operand), taken.to(operand), result, precision, out_dtype=accumulator)
        else:
            product = tl.dot(seen.to(operand), taken.to(operand), product, precision, out_dtype=accumulator)
            if chunk == chunks - 1:
                result += factor[:, None] * product
                product = tl.zeros((rows, columns), accumulator)
    if normalized:
        result *= (numerator / total)[:, None]
    if has_bias:
        result += tl.load(bias + filter, mask=kept, other=0).to(accumulator)[None, :]
    place = output + pixel[:, None] * filters + filter[None, :]
    tl.store(place, result.to(output.dtype.element_ty), mask=exists[:, None] & kept[None, :])


def compute_output(
    input: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, window: Window, groups: int, numerator: int
) -> Tensor:
    """Return the output, channels-last as the input and the weight; `numerator` is that of s_i, 0 for no division."""
    problem, (filters, group_channels) = Problem.of(input, window), weight.shape[:2]
    images, group_filters = input.shape[0], filters // groups
    output = input.new_empty(images, problem.out_height, problem.out_width, filters).permute(0, 3, 1, 2)
    if output.numel() > 0:
        sizes = images * groups, problem.pixels, group_filters, group_channels
        tile = choose_tile(TILES, "forward", precision_of(input), *sizes)
        row_blocks, column_blocks = triton.cdiv(problem.pixels, tile.rows), triton.cdiv(group_filters, tile.columns)
        _forward[(images * row_blocks * groups * column_blocks,)](
            input, weight, mask, bias, output, problem, numerator, filters, groups, row_blocks, column_blocks,
            has_bias=bias is not None, normalized=numerator > 0, masked=tile.masked,
            **constants(tile, input, image_size(input), image_size(output), image_size(mask), weight.numel()),
        )  # fmt: skip
    return output
