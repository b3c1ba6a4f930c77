"""The gradients of input and mask: gradients times filters, gathered by the input pixels that windows see."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import Problem, Tile, Tiles, choose_tile, constants, image_size, precision_of
from segaware.ops.convolution._triton.masks import sum_parts
from segaware.ops.window import Window

TILES: Tiles = {
    ("input gradient", "half"): (Tile(128, 128, 64, 8, 3, "factor"), Tile(64, 64, 64, 4, 4, "factor")),
    ("input gradient", "tf32"): (Tile(128, 128, 32, 8, 3, "factor"), Tile(64, 64, 32, 4, 4, "factor")),
    ("input gradient", "ieee"): (Tile(64, 64, 16, 8, 3), Tile(32, 64, 16, 4, 3)),
    ("input gradient", "double"): (Tile(32, 32, 16, 4, 2),),
    # What is summed over channels must be a tap's own product.
    ("input and mask gradient", "half"): (Tile(128, 128, 64, 8, 3), Tile(64, 64, 64, 4, 4)),
    ("input and mask gradient", "tf32"): (Tile(128, 64, 32, 8, 3), Tile(64, 64, 32, 4, 3)),
    ("input and mask gradient", "ieee"): (Tile(64, 64, 16, 8, 3), Tile(32, 64, 16, 4, 3)),
    ("input and mask gradient", "double"): (Tile(32, 32, 16, 4, 2),),
}


@triton.jit
def _input_gradient(
    grad, input, weight, scaled_mask, scale, grad_input, parts, problem, filters, groups, row_blocks, column_blocks,
    part_size, with_mask: tl.constexpr, masked: tl.constexpr, precision: tl.constexpr, operand: tl.constexpr,
    accumulator: tl.constexpr, index: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Compute a tile of the input's gradient: pixels by channels of one group; and what these give to the mask's.

    A pixel is seen at a tap by one window at most, so what the program sums over its channels has a place of its own
    among the parts of the mask's gradient, of which there is one for every block of channels.
    """
    program = tl.program_id(0)
    block = program // (groups * column_blocks) % row_blocks
    image = (program // (groups * column_blocks) // row_blocks).to(tl.int64)
    group = program % (groups * column_blocks) // column_blocks
    group_channels, group_filters = problem.channels // groups, filters // groups
    image_pixels = image * problem.channels * problem.plane + group * group_channels
    grad += image * problem.pixels * filters + group * group_filters
    scaled_mask += image * problem.taps * problem.pixels
    scale += image * problem.pixels
    parts += (program % (groups * column_blocks)).to(tl.int64) * part_size + image * problem.taps * problem.pixels

    pixel = (block * rows + tl.arange(0, rows)).to(index)
    exists = pixel < problem.plane
    y, x = pixel // problem.width + problem.top, pixel % problem.width + problem.left
    # Of the taps that see the image from a window, the first row is left out where windows would begin below the last.
    low = block * rows // problem.width + problem.top
    high = (tl.minimum(block * rows + rows, problem.plane) - 1) // problem.width + problem.top
    below = low - (problem.out_height - 1) * problem.stride_y
    first_row = tl.minimum(tl.maximum((below + problem.dilation_y - 1) // problem.dilation_y, 0), problem.kernel_height)
    stop_row = tl.maximum(tl.minimum(high // problem.dilation_y + 1, problem.kernel_height), first_row)
    column = program % column_blocks * columns + tl.arange(0, columns)
    kept = column < group_channels
    place = image_pixels + pixel[:, None] * problem.channels + column[None, :]
    if with_mask:
        own = tl.load(input + place, mask=exists[:, None] & kept[None, :], other=0)

    result = tl.zeros((rows, columns), accumulator)
    product = tl.zeros((rows, columns), accumulator)
    chunks = tl.cdiv(group_filters, depth)
    for step in range(first_row * problem.kernel_width * chunks, stop_row * problem.kernel_width * chunks):
        tap, chunk = step // chunks, step % chunks
        down = y - tap // problem.kernel_width * problem.dilation_y
        right = x - tap % problem.kernel_width * problem.dilation_x
        row, col = down // problem.stride_y, right // problem.stride_x
        inside = exists & (down >= 0) & (row < problem.out_height) & (right >= 0) & (col < problem.out_width)
        inside &= (row * problem.stride_y == down) & (col * problem.stride_x == right)
        window = row * problem.out_width + col
        filter = chunk * depth + tl.arange(0, depth)
        wanted = filter < group_filters
        seen = tl.load(
            grad + window[:, None] * filters + filter[None, :], mask=inside[:, None] & wanted[None, :], other=0
        )
        taken = tl.load(
            weight + ((group * group_filters + filter).to(index) * problem.taps + tap)[:, None] * group_channels
            + column[None, :],
            mask=wanted[:, None] & kept[None, :], other=0,
        )  # fmt: skip
        at = tl.cast(tap, index) * problem.pixels + window
        factor = tl.load(scaled_mask + at, mask=inside, other=0)
        if masked == "factor":
            seen = (seen.to(accumulator) * factor[:, None]).to(seen.dtype)
            result = tl.dot(seen.to(operand), taken.to(operand), result, precision, out_dtype=accumulator)
        else:
            product = tl.dot(seen.to(operand), taken.to(operand), product, precision, out_dtype=accumulator)
            if chunk == chunks - 1:
                if with_mask:
                    window_scale = tl.load(scale + window, mask=inside, other=0)
                    tl.store(parts + at, window_scale * tl.sum(product * own.to(accumulator), 1), mask=inside)
                result += factor[:, None] * product
                product = tl.zeros((rows, columns), accumulator)
    tl.store(grad_input + place, result.to(grad_input.dtype.element_ty), mask=exists[:, None] & kept[None, :])


def backward_input(
    grad: Tensor, input: Tensor, weight: Tensor, mask: Tensor, scaled_mask: Tensor, scale: Tensor, window: Window,
    groups: int, normalized: bool, with_mask: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return both gradients, that of the input channels-last.

    `scale` are all s_i (N, Ho, Wo), and `scaled_mask` all s_i m_ik.
    """
    problem, (filters, group_channels) = Problem.of(input, window), weight.shape[:2]
    images, group_filters = input.shape[0], filters // groups
    grad_input = torch.empty_like(input)
    sizes = images * groups, problem.plane, group_channels, group_filters
    kernel = "input and mask gradient" if with_mask else "input gradient"
    tile = choose_tile(TILES, kernel, precision_of(input), *sizes)
    row_blocks, column_blocks = triton.cdiv(problem.plane, tile.rows), triton.cdiv(group_channels, tile.columns)
    parts = scale.new_empty(groups * column_blocks if with_mask else 0, *mask.shape)
    if input.numel() > 0:
        numbers = constants(tile, input, image_size(input), image_size(grad), image_size(mask), weight.numel())
        _input_gradient[(images * row_blocks * groups * column_blocks,)](
            grad, input, weight, scaled_mask, scale, grad_input, parts, problem, filters, groups, row_blocks,
            column_blocks, mask.numel(), with_mask=with_mask, masked="product" if with_mask else tile.masked, **numbers,
        )  # fmt: skip
    return grad_input, sum_parts(parts, mask, problem, normalized)
