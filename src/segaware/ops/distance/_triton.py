"""The distances of Eq. 1 and Eq. 3 and their gradient on a GPU.

A program has a block of pixels, whose own embeddings it keeps in registers. Forward it goes over the taps of their
windows and adds up the channels of each neighbour; where every pixel is the centre of one window, a distance is
computed once and written to both of its ends. Backward it gathers what every neighbour gives, so that no two programs
write to the same place. Neighbours of a block overlap: they are read from memory once, then from the cache. Embeddings
are channels-last here, so that they are read 16 bytes at a time, wherever a window lies.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._launch import (
    PROGRAMS,
    Problem,
    Tile,
    accumulator_type,
    channels_last,
    image_size,
    in_format,
    index_type,
    on_device_of,
)
from segaware.ops.window import Window

# Rows are pixels, columns channels; with fewer of these there are more pixels. Depth is the taps unrolled.
TILES = {"forward": Tile(64, 64, 2, 4, 1), "backward": Tile(64, 64, 2, 4, 1)}
_MOST_PIXELS = 256


@triton.jit
def _forward(
    embedding, distance, problem, blocks, taps_each, metric: tl.constexpr,
    symmetric: tl.constexpr, whole: tl.constexpr, accumulator: tl.constexpr, index: tl.constexpr, rows: tl.constexpr,
    columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Compute the distances of a block of output pixels at some taps; if `whole`, one load has all channels.

    If windows are symmetric, those taps are of the second half, and their distances are written to both ends.
    """
    image = (tl.program_id(0) // blocks).to(tl.int64)
    embedding += image * problem.channels * problem.plane
    distance += image * problem.taps * problem.pixels
    pixel = (tl.program_id(0) % blocks * rows + tl.arange(0, rows)).to(index)
    channel = tl.arange(0, columns)
    exists = pixel < problem.pixels
    middle_y, middle_x = problem.kernel_height // 2, problem.kernel_width // 2
    y = pixel // problem.out_width * problem.stride_y - problem.top + middle_y * problem.dilation_y
    x = pixel % problem.out_width * problem.stride_x - problem.left + middle_x * problem.dilation_x
    centred = exists & (y >= 0) & (y < problem.height) & (x >= 0) & (x < problem.width)
    channels = channel[None, :].to(index)
    here = embedding + (y * problem.width + x)[:, None] * problem.channels + channels
    kept = (channel < problem.channels)[None, :]
    own = tl.load(here, mask=centred[:, None] & kept, other=0).to(accumulator)

    begin = tl.program_id(1) * taps_each
    if symmetric:
        begin += problem.taps // 2 + 1
    for tap in tl.range(begin, tl.minimum(begin + taps_each, problem.taps), loop_unroll_factor=depth):
        down = (tap // problem.kernel_width - middle_y) * problem.dilation_y
        right = (tap % problem.kernel_width - middle_x) * problem.dilation_x
        row, col = y + down, x + right
        inside = centred & (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)
        there = embedding + (row * problem.width + col)[:, None] * problem.channels + channels
        if whole:
            other = tl.load(there, mask=inside[:, None] & kept, other=0).to(accumulator)
            sums = _sum_channels(own - other, metric)
        else:
            sums = tl.zeros((rows,), accumulator)
            for first in range(0, problem.channels, columns):
                wanted = inside[:, None] & (first + channel < problem.channels)[None, :]
                step = tl.cast(first, index)
                centre = tl.load(here + step, mask=wanted, other=0).to(accumulator)
                other = tl.load(there + step, mask=wanted, other=0).to(accumulator)
                sums += _sum_channels(centre - other, metric)
        if metric == "euclidean":
            sums = tl.sqrt(sums)
        sums = tl.where(inside, sums, 0).to(distance.dtype.element_ty)
        tl.store(distance + tl.cast(tap, index) * problem.pixels + pixel, sums, mask=exists)
        if symmetric:
            mirrored = distance + tl.cast(problem.taps - 1 - tap, index) * problem.pixels
            tl.store(mirrored + (row * problem.width + col), sums, mask=inside)
            # Nobody writes to this pixel from the other end.
            row, col = y - down, x - right
            behind = (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)
            tl.store(mirrored + pixel, tl.zeros_like(sums), mask=exists & (behind == 0))
    if symmetric and tl.program_id(1) == 0:
        zeros = tl.sum(own - own, 1)  # or NaN
        if not whole:
            for first in range(columns, problem.channels, columns):
                wanted = centred[:, None] & (first + channel < problem.channels)[None, :]
                centre = tl.load(here + tl.cast(first, index), mask=wanted, other=0).to(accumulator)
                zeros += tl.sum(centre - centre, 1)
        middle = distance + tl.cast(problem.taps // 2, index) * problem.pixels
        tl.store(middle + pixel, zeros.to(distance.dtype.element_ty), mask=exists)


@triton.jit
def _sum_channels(difference, metric: tl.constexpr):
    return tl.sum(tl.abs(difference) if metric == "l1" else difference * difference, 1)


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
    return _per_difference(weight, distance + place, exists, metric, accumulator)


@triton.jit
def _per_difference(weight, distance, exists, metric: tl.constexpr, accumulator: tl.constexpr):
    """Return what a channel's difference is multiplied with, given the gradient of the distance."""
    if metric == "sqeuclidean":
        weight *= 2
    if metric == "euclidean":
        length = tl.load(distance, mask=exists, other=0).to(accumulator)
        weight = tl.where(length > 0, weight / length, 0)
    return weight


@triton.jit
def _backward(
    grad, embedding, distance, result, problem, blocks, metric: tl.constexpr,
    symmetric: tl.constexpr, accumulator: tl.constexpr, index: tl.constexpr, rows: tl.constexpr,
    columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of a block of pixels, in some channels.

    A pixel and a neighbour meet in the window of the one and in that of the other, if they have one. If windows are
    symmetric they have, and one is the mirror image of the other.
    """
    image = (tl.program_id(0) // blocks).to(tl.int64)
    grad += image * problem.taps * problem.pixels
    distance += image * problem.taps * problem.pixels
    embedding += image * problem.channels * problem.plane
    result += image * problem.channels * problem.plane
    pixel = (tl.program_id(0) % blocks * rows + tl.arange(0, rows)).to(index)
    channel = (tl.program_id(1) * columns + tl.arange(0, columns)).to(index)
    exists, kept = pixel < problem.plane, (channel < problem.channels)[None, :]
    channels = channel[None, :]
    y, x = pixel // problem.width, pixel % problem.width
    own = tl.load(embedding + pixel[:, None] * problem.channels + channels, mask=exists[:, None] & kept, other=0)
    own = own.to(accumulator)
    sums = tl.zeros((rows, columns), accumulator)
    across = 2 * (problem.kernel_width // 2) + 1
    for k in tl.range(0, (2 * (problem.kernel_height // 2) + 1) * across, loop_unroll_factor=depth):
        i, j = k // across - problem.kernel_height // 2, k % across - problem.kernel_width // 2
        row, col = y + i * problem.dilation_y, x + j * problem.dilation_x
        inside = exists & (row >= 0) & (row < problem.height) & (col >= 0) & (col < problem.width)
        there = row * problem.width + col
        if symmetric:  # the window is as large as the range of k
            at = tl.cast(k, index) * problem.plane + pixel
            weight = tl.load(grad + at, mask=inside, other=0).to(accumulator)
            mirrored = tl.cast(problem.taps - 1 - k, index) * problem.plane + there
            weight += tl.load(grad + mirrored, mask=inside, other=0).to(accumulator)
            weight = _per_difference(weight, distance + at, inside, metric, accumulator)
        else:
            weight = _window_weight(grad, distance, problem, y, x, i, j, inside, metric, accumulator)
            weight += _window_weight(grad, distance, problem, row, col, -i, -j, inside, metric, accumulator)
        other = tl.load(
            embedding + there[:, None] * problem.channels + channels, mask=inside[:, None] & kept, other=0
        ).to(accumulator)
        weight = weight[:, None]
        if metric == "l1":
            sums += tl.where(own > other, weight, 0) - tl.where(own < other, weight, 0)
        else:  # a weight of 0 may belong to no neighbour, or to one at a distance that is not finite
            sums += tl.where(weight != 0, weight * (own - other), 0)
    place = result + pixel[:, None] * problem.channels + channels
    tl.store(place, sums.to(result.dtype.element_ty), mask=exists[:, None] & kept)


def _is_symmetric(window: Window) -> bool:
    """Say whether every pixel is the centre of one window, so that every distance stands at both of its ends."""
    return window.size % 2 == 1 and window == Window.of(window.kernel_size, 1, "same", window.dilation)


def _sizes(tile: Tile, channels: int) -> tuple[int, int]:
    """Return the pixels and channels of a program: of few channels, more pixels."""
    columns = min(tile.columns, triton.next_power_of_2(channels))
    return min(_MOST_PIXELS, tile.rows * tile.columns // columns), columns


def forward(embedding: Tensor, window: Window, metric: str) -> Tensor:
    """Return the distances (N, K, Ho, Wo) of embeddings (N, E, H, W)."""
    embedding, problem, tile = channels_last(embedding), Problem.of(embedding, window), TILES["forward"]
    images, symmetric = embedding.shape[0], _is_symmetric(window)
    distance = embedding.new_empty(images, window.size, problem.out_height, problem.out_width)
    taps = max(1, window.size // 2 if symmetric else window.size)
    rows, columns = _sizes(tile, problem.channels)
    blocks = triton.cdiv(problem.pixels, rows)
    if distance.numel() > 0:
        # Several programs share the taps of a block only where blocks are too few to fill a GPU.
        taps_each = triton.cdiv(taps, min(taps, triton.cdiv(2 * PROGRAMS, images * blocks)))
        with on_device_of(embedding):
            _forward[(images * blocks, triton.cdiv(taps, taps_each))](
                embedding, distance, problem, blocks, taps_each, metric, symmetric,
                problem.channels <= columns, accumulator_type(embedding),
                index_type(image_size(embedding), image_size(distance)), rows, columns, tile.depth,
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return distance


def backward(gradient: Tensor, embedding: Tensor, distance: Tensor, window: Window, metric: str) -> Tensor:
    """Return the gradient of the embeddings, in their format, given that of their distances."""
    gradient, distance, like = gradient.contiguous(), distance.contiguous(), embedding
    embedding, problem, tile = channels_last(embedding), Problem.of(embedding, window), TILES["backward"]
    result = torch.empty_like(embedding)
    rows, columns = _sizes(tile, problem.channels)
    blocks = triton.cdiv(problem.plane, rows)
    if result.numel() > 0:
        with on_device_of(embedding):
            _backward[(embedding.shape[0] * blocks, triton.cdiv(problem.channels, columns))](
                gradient, embedding, distance, result, problem, blocks, metric, _is_symmetric(window),
                accumulator_type(embedding), index_type(image_size(embedding), image_size(distance)), rows, columns,
                tile.depth, num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return in_format(result, like)
