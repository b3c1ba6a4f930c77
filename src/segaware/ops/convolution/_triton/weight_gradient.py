"""The gradient of the weight: masked columns, transposed, times gradients, summed over all pixels."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import PROGRAMS, Problem, Tile, Tiles, choose_tile, constants, image_size, precision_of
from segaware.ops.window import Window

TILES: Tiles = {
    ("weight gradient", "half"): (Tile(128, 128, 64, 8, 3),),
    ("weight gradient", "tf32"): (Tile(128, 64, 32, 8, 3),),
    ("weight gradient", "ieee"): (Tile(64, 64, 16, 4, 3),),
    ("weight gradient", "double"): (Tile(32, 32, 16, 4, 2),),
}
_LEAST_BLOCKS = 8  # of pixels, that are worth a part of the gradient of their own


@triton.jit
def _weight_gradient(
    grad, input, scaled_mask, parts, problem, filters, groups, images, row_blocks, column_blocks, pixel_blocks, shares,
    part_size, precision: tl.constexpr, operand: tl.constexpr, accumulator: tl.constexpr, index: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Compute a part of a tile of the gradient, channels by filters of one group at one tap: that of a share of pixels.

    Programs that follow each other take the same share of the pixels.
    """
    program = tl.program_id(0)
    column = program % column_blocks * columns + tl.arange(0, columns)
    row = program // column_blocks % row_blocks * rows + tl.arange(0, rows)
    rest = program // column_blocks // row_blocks
    tap, group, share = rest % problem.taps, rest // problem.taps % groups, rest // problem.taps // groups
    group_channels, group_filters = problem.channels // groups, filters // groups
    is_channel, is_filter = row < group_channels, column < group_filters
    down = tap // problem.kernel_width * problem.dilation_y - problem.top
    right = tap % problem.kernel_width * problem.dilation_x - problem.left

    result = tl.zeros((rows, columns), accumulator)
    blocks = images * pixel_blocks
    for block in range(share * blocks // shares, (share + 1) * blocks // shares):
        image = (block // pixel_blocks).to(tl.int64)
        pixel = (block % pixel_blocks * depth + tl.arange(0, depth)).to(index)
        y = pixel // problem.out_width * problem.stride_y + down
        x = pixel % problem.out_width * problem.stride_x + right
        inside = (pixel < problem.pixels) & (y >= 0) & (y < problem.height) & (x >= 0) & (x < problem.width)
        at = (image * problem.taps + tap) * problem.pixels + pixel
        factor = tl.load(scaled_mask + at, mask=inside, other=0)
        seen = tl.load(
            input + image * problem.channels * problem.plane + group * group_channels
            + (y * problem.width + x)[None, :] * problem.channels + row[:, None],
            mask=is_channel[:, None] & inside[None, :], other=0,
        )  # fmt: skip
        taken = tl.load(
            grad + image * problem.pixels * filters + group * group_filters + pixel[:, None] * filters
            + column[None, :],
            mask=inside[:, None] & is_filter[None, :], other=0,
        )  # fmt: skip
        masked = (seen.to(accumulator) * factor[None, :]).to(seen.dtype)
        result = tl.dot(masked.to(operand), taken.to(operand), result, precision, out_dtype=accumulator)
    filter = (group * group_filters + column).to(index)
    place = (filter * problem.taps + tap)[None, :] * group_channels + row[:, None]
    tl.store(parts + share.to(tl.int64) * part_size + place, result, mask=is_channel[:, None] & is_filter[None, :])


def backward_weight(
    grad: Tensor, input: Tensor, weight: Tensor, scaled_mask: Tensor, window: Window, groups: int
) -> Tensor:
    """Return the gradient, channels-last; `scaled_mask` are all s_i m_ik."""
    problem, (filters, group_channels) = Problem.of(input, window), weight.shape[:2]
    images, group_filters = input.shape[0], filters // groups
    sizes = window.size * groups, group_channels, group_filters, problem.pixels
    tile = choose_tile(TILES, "weight gradient", precision_of(input), *sizes)
    row_blocks, column_blocks = triton.cdiv(group_channels, tile.rows), triton.cdiv(group_filters, tile.columns)
    pixel_blocks, tiles = triton.cdiv(problem.pixels, tile.depth), row_blocks * column_blocks * window.size * groups
    # As many as fill a GPU, of shapes alone, so that every GPU adds in the same order.
    shares = max(1, min(triton.cdiv(2 * PROGRAMS, max(tiles, 1)), images * pixel_blocks // _LEAST_BLOCKS))
    parts = scaled_mask.new_empty(shares, *weight.permute(0, 2, 3, 1).shape)
    if weight.numel() > 0:
        _weight_gradient[(tiles * shares,)](
            grad, input, scaled_mask, parts, problem, filters, groups, images, row_blocks, column_blocks, pixel_blocks,
            shares, weight.numel(),
            **constants(tile, input, image_size(input), image_size(grad), image_size(scaled_mask), weight.numel()),
        )  # fmt: skip
    return parts.sum(0).to(weight.dtype).permute(0, 3, 1, 2)
