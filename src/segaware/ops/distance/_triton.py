"""The distances of Eq. 1 and Eq. 3 and their gradient on a GPU.

A program has a block of pixels. Forward it has some taps too, and adds up the channels of all their neighbours: an
embedding is read from memory once, then from the cache. Backward it has some channels, and gathers what every
neighbour gives to them, so that no two programs write to the same place.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import Problem, Tile, accumulator_type, image_size, index_type, on_device_of
from segaware.ops.window import Window

# Rows are pixels; columns are taps, most of them, or channels; depth is the channels, or neighbours, unrolled.
TILES = {"forward": Tile(128, 8, 4, 4, 1), "backward": Tile(64, 32, 1, 8, 1)}


@triton.jit
def _forward(
    embedding, distance, problem, blocks, metric: tl.constexpr, symmetric: tl.constexpr,
    accumulator: tl.constexpr, index: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Compute the distances of a block of output pixels at some taps.

    If windows are symmetric, those taps are of the second half, and their distances are written to both ends.
    """
    image = (tl.program_id(0) // blocks).to(tl.int64)
    embedding += image * problem.channels * problem.plane
    distance += image * problem.taps * problem.pixels
    pixel = (tl.program_id(0) % blocks * rows + tl.arange(0, rows)).to(index)
    tap = tl.program_id(1) * columns + tl.arange(0, columns)
    if symmetric:
        tap += problem.taps // 2 + 1
    exists = pixel < problem.pixels
    middle_y, middle_x = problem.kernel_height // 2, problem.kernel_width // 2
    y = pixel // problem.out_width * problem.stride_y - problem.top + middle_y * problem.dilation_y
    x = pixel % problem.out_width * problem.stride_x - problem.left + middle_x * problem.dilation_x
    centred = exists & (y >= 0) & (y < problem.height) & (x >= 0) & (x < problem.width)
    down = (tap // problem.kernel_width - middle_y) * problem.dilation_y
    right = (tap % problem.kernel_width - middle_x) * problem.dilation_x
    row, col = y[None, :] + down[:, None], x[None, :] + right[:, None]
    is_tap = (tap < problem.taps)[:, None] & exists[None, :]
    inside = is_tap & centred[None, :] & (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)

    sums = tl.zeros((columns, rows), accumulator)
    own = tl.zeros((rows,), accumulator)
    here, there = embedding + y * problem.width + x, embedding + row * problem.width + col
    for _ in tl.range(0, problem.channels, loop_unroll_factor=depth):
        centre = tl.load(here, mask=centred, other=0).to(accumulator)
        difference = centre[None, :] - tl.load(there, mask=inside, other=0).to(accumulator)
        sums += tl.abs(difference) if metric == "l1" else difference * difference
        own += centre - centre  # 0, or NaN
        here += problem.plane
        there += problem.plane
    if metric == "euclidean":
        sums = tl.sqrt(sums)
    sums = tl.where(inside, sums, 0).to(distance.dtype.element_ty)
    tl.store(distance + tl.cast(tap, index)[:, None] * problem.pixels + pixel[None, :], sums, mask=is_tap)
    if symmetric:
        mirrored = distance + (problem.taps - 1 - tap).to(index)[:, None] * problem.pixels
        tl.store(mirrored + (row * problem.width + col), sums, mask=inside)
        # Nobody writes to this pixel from the other end.
        row, col = y[None, :] - down[:, None], x[None, :] - right[:, None]
        behind = (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)
        tl.store(mirrored + pixel[None, :], tl.zeros_like(sums), mask=is_tap & (behind == 0))
        if tl.program_id(1) == 0:
            middle = distance + tl.cast(problem.taps // 2, index) * problem.pixels
            tl.store(middle + pixel, own.to(distance.dtype.element_ty), mask=exists)


@triton.jit
def _window_weight(grad, distance, problem, y, x, i, j, exists, metric: tl.constexpr, accumulator: tl.constexpr):
    """Return the gradient of the distance between the centres y, x of windows and their neighbours i, j taps away.

    It is 0 where there is no such window, and comes without the factor that depends on the channel.
    """
    tap_row, tap_col = i + problem.kernel_height // 2, j + problem.kernel_width // 2
    top = y + problem.top - problem.kernel_height // 2 * problem.dilation_y
    left = x + problem.left - problem.kernel_width // 2 * problem.dilation_x
    row, col = top // problem.stride_y, left // problem.stride_x
    exists &= (top >= 0) & (row * problem.stride_y == top) & (row < problem.out_height)
    exists &= (left >= 0) & (col * problem.stride_x == left) & (col < problem.out_width)
    exists &= (tap_row < problem.kernel_height) & (tap_col < problem.kernel_width)
    place = (
        tl.cast(tap_row * problem.kernel_width + tap_col, y.dtype) * problem.out_height + row
    ) * problem.out_width + col
    weight = tl.load(grad + place, mask=exists, other=0).to(accumulator)
    if metric == "sqeuclidean":
        weight *= 2
    if metric == "euclidean":
        length = tl.load(distance + place, mask=exists, other=0).to(accumulator)
        weight = tl.where(length > 0, weight / length, 0)
    return weight


@triton.jit
def _backward(
    grad, embedding, distance, result, problem, blocks, metric: tl.constexpr,
    accumulator: tl.constexpr, index: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of a block of pixels, in some channels.

    A pixel and a neighbour meet in the window of the one and in that of the other, if they have one.
    """
    image = (tl.program_id(0) // blocks).to(tl.int64)
    grad += image * problem.taps * problem.pixels
    distance += image * problem.taps * problem.pixels
    pixel = (tl.program_id(0) % blocks * rows + tl.arange(0, rows)).to(index)
    channel = (tl.program_id(1) * columns + tl.arange(0, columns)).to(index)
    planes = image * problem.channels * problem.plane + channel[:, None] * problem.plane
    exists, kept = pixel < problem.plane, channel < problem.channels
    y, x = pixel // problem.width, pixel % problem.width
    own = tl.load(embedding + planes + pixel[None, :], mask=kept[:, None] & exists[None, :], other=0).to(accumulator)
    sums = tl.zeros((columns, rows), accumulator)
    across = 2 * (problem.kernel_width // 2) + 1
    for k in range((2 * (problem.kernel_height // 2) + 1) * across):
        i, j = k // across - problem.kernel_height // 2, k % across - problem.kernel_width // 2
        row, col = y + i * problem.dilation_y, x + j * problem.dilation_x
        inside = exists & (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)
        weight = _window_weight(grad, distance, problem, y, x, i, j, inside, metric, accumulator)
        weight += _window_weight(grad, distance, problem, row, col, -i, -j, inside, metric, accumulator)
        other = tl.load(
            embedding + planes + (row * problem.width + col)[None, :], mask=kept[:, None] & inside[None, :], other=0
        ).to(accumulator)
        weight = weight[None, :]
        if metric == "l1":
            sums += tl.where(own > other, weight, 0) - tl.where(own < other, weight, 0)
        else:  # a weight of 0 may belong to no neighbour, or to one at a distance that is not finite
            sums += tl.where(weight != 0, weight * (own - other), 0)
    tl.store(result + planes + pixel[None, :], sums.to(result.dtype.element_ty), mask=kept[:, None] & exists[None, :])


def _is_symmetric(window: Window) -> bool:
    """Say whether every pixel is the centre of one window, so that every distance stands at both of its ends."""
    return window.size % 2 == 1 and window == Window.of(window.kernel_size, 1, "same", window.dilation)


def forward(embedding: Tensor, window: Window, metric: str) -> Tensor:
    """Return the distances (N, K, Ho, Wo) of embeddings (N, E, H, W)."""
    embedding, problem, tile = embedding.contiguous(), Problem.of(embedding, window), TILES["forward"]
    images, symmetric = embedding.shape[0], _is_symmetric(window)
    distance = embedding.new_empty(images, window.size, problem.out_height, problem.out_width)
    taps = window.size // 2 if symmetric else window.size
    columns = min(tile.columns, triton.next_power_of_2(max(taps, 1)))
    blocks = triton.cdiv(problem.pixels, tile.rows)
    if distance.numel() > 0:
        with on_device_of(embedding):
            _forward[(images * blocks, max(1, triton.cdiv(taps, columns)))](
                embedding, distance, problem, blocks, metric, symmetric, accumulator_type(embedding),
                index_type(image_size(embedding), image_size(distance)), tile.rows, columns, tile.depth,
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return distance


def backward(gradient: Tensor, embedding: Tensor, distance: Tensor, window: Window, metric: str) -> Tensor:
    """Return the gradient of the embeddings, given that of their distances."""
    gradient, embedding, distance = gradient.contiguous(), embedding.contiguous(), distance.contiguous()
    problem, tile = Problem.of(embedding, window), TILES["backward"]
    result = embedding.new_empty(embedding.shape)
    columns = min(tile.columns, triton.next_power_of_2(max(problem.channels, 1)))
    blocks = triton.cdiv(problem.plane, tile.rows)
    if result.numel() > 0:
        with on_device_of(embedding):
            _backward[(embedding.shape[0] * blocks, triton.cdiv(problem.channels, columns))](
                gradient, embedding, distance, result, problem, blocks, metric, accumulator_type(embedding),
                index_type(image_size(embedding), image_size(distance)), tile.rows, columns,
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return result
