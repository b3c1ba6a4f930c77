"""The weighted median of windows on CPU, and its gradient.

Values are compared by their keys, integers in the same order. That of a median is found bit by bit, from the highest:
it is the largest key below which lies less than half of the weight. So a median takes as many passes over the taps as a
key has bits, and no sorting. A task is one row of an image. It copies what the taps see of a few pixels at a time, so
that it stays in the L1 cache. Indices are unsigned where a loop shall vectorise, see `_loops`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segaware.ops._layout import to_contiguous
from segaware.ops._loops import accumulate, clear, copy
from segaware.ops._parallel import flat, jit, kernel, parallel_for, record, thread_count
from segaware.ops.window import Window

_BLOCK = 64  # pixels


class _Problem(NamedTuple):
    """The numbers of one call that every kernel needs."""

    channels: int
    height: int
    width: int
    kernel_height: int
    kernel_width: int
    top: int
    left: int
    dilation_y: int
    dilation_x: int

    @classmethod
    def of(cls, input: Tensor, window: Window) -> _Problem:
        """Take them from the arguments of the operator."""
        _, channels, height, width = input.shape
        (top, _), (left, _) = window.padding
        return cls(channels, height, width, *window.kernel_size, top, left, *window.dilation)


def forward(input: Tensor, mask: Tensor, window: Window, center_weight: float) -> tuple[Tensor, Tensor]:
    """Return the medians (N, C, H, W), and the first tap that has each, int32; NaN and -1 where there is none."""
    input, mask = to_contiguous(input), to_contiguous(mask)
    output, tap = torch.empty_like(input), torch.empty_like(input, dtype=torch.int32)
    keys, threads, size = _keys(flat(input)), thread_count(), (window.size + 2) * _BLOCK
    seen = np.empty((threads, size), keys.dtype)  # the key of every tap, then medians and candidates for them
    weights = np.empty((threads, size), output.numpy().dtype)  # of every tap, then half of all, and a part of them
    result = flat(output).view(keys.dtype), flat(tap)
    extra = weights.dtype.type(center_weight)
    arguments = keys, flat(mask), extra, *result, seen, weights, record(_Problem.of(input, window))
    _forward(threads, input[:, 0, :, 0].numel(), arguments)
    return output, tap


def _keys(values: np.ndarray) -> np.ndarray:
    """Return integers in the order of floats; -0 is as 0, and NaN the largest."""
    bits = (values + 0).view(f"i{values.itemsize}")
    largest = np.iinfo(bits.dtype).max
    return np.where(np.isnan(values), largest, bits ^ (bits >> 8 * bits.itemsize - 1 & largest))


def backward(gradient: Tensor, tap: Tensor, window: Window) -> Tensor:
    """Return the gradient of the input: what the medians that a pixel is have of it."""
    gradient = to_contiguous(gradient)
    result = torch.empty_like(gradient)
    arguments = flat(gradient), flat(tap), flat(result), record(_Problem.of(gradient, window))
    _backward(thread_count(), gradient[..., 0].numel(), arguments)
    return result


@kernel
def _forward(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_forward_row, threads, tasks, arguments)


@jit
def _forward_row(
    task: int, thread: int, keys: Any, mask: Any, extra: Any, output: Any, tap: Any, seen: Any, weights: Any,
    problem: Any,
) -> None:  # fmt: skip
    image, y = task // problem.height, task % problem.height
    key, weight, taps = seen[thread], weights[thread], problem.kernel_height * problem.kernel_width
    for x in range(0, problem.width, _BLOCK):
        count = min(_BLOCK, problem.width - x)
        clear(weight, 0, taps * _BLOCK)
        for k in range(taps):
            _, _, low, high = _sight(k, x, y, count, problem)
            place = ((image * taps + k) * problem.height + y) * problem.width + low
            copy(weight, k * _BLOCK + low - x, mask, place, high - low)
        centre = problem.kernel_height // 2 * problem.kernel_width + problem.kernel_width // 2
        _, _, low, high = _sight(centre, x, y, count, problem)
        _add_to_centre(weight, taps, centre, low - x, high - x, extra)
        for channel in range(problem.channels):
            plane = (image * problem.channels + channel) * problem.height
            for k in range(taps):
                row, shift, low, high = _sight(k, x, y, count, problem)
                copy(key, k * _BLOCK + low - x, keys, (plane + row) * problem.width + low + shift, high - low)
            _find(key, weight, taps)
            _write(output, tap, (plane + y) * problem.width + x, count, key, weight, taps)


@jit
def _sight(k: int, x: int, y: int, count: int, problem: Any) -> Any:
    """Return the row that tap k sees of row y, how far to the right, and which of `count` pixels from x on see any."""
    row = y + k // problem.kernel_width * problem.dilation_y - problem.top
    shift = k % problem.kernel_width * problem.dilation_x - problem.left
    low = min(max(x, -shift), x + count)
    high = max(low, min(x + count, problem.width - shift)) if 0 <= row < problem.height else low
    return row, shift, low, high


@jit
def _add_to_centre(weight: Any, taps: int, centre: int, low: int, high: int, extra: Any) -> None:
    """Add to the weight of the centre `extra` times that of all taps, for the pixels low..high-1 of a block."""
    total = taps * _BLOCK
    clear(weight, total, _BLOCK)
    for k in range(taps):
        accumulate(weight, total, weight, k * _BLOCK, _BLOCK)
    for x in range(low, high):
        weight[centre * _BLOCK + x] += extra * weight[total + x]


@jit
def _find(key: Any, weight: Any, taps: int) -> None:
    """Write the keys of a block's medians behind those of its taps; the lowest, which none has, where no weight is."""
    bits = 8 * key.itemsize
    median, candidate = np.uint64(taps * _BLOCK), np.uint64((taps + 1) * _BLOCK)
    half, part = median, candidate
    for x in range(np.uint64(_BLOCK)):
        key[median + x] = -1 << bits - 1
        key[candidate + x] = (1 << bits - 1) - 1  # that of NaN, which is left out
    _sum_below(weight, half, key, candidate, taps)
    for x in range(np.uint64(_BLOCK)):
        weight[half + x] *= weight.dtype.type(0.5)
    for bit in range(bits):
        for x in range(np.uint64(_BLOCK)):
            key[candidate + x] = key[median + x] ^ 1 << bits - 1 - bit
        _sum_below(weight, part, key, candidate, taps)
        for x in range(np.uint64(_BLOCK)):
            smaller = weight[part + x] < weight[half + x]
            key[median + x] = key[candidate + x] if smaller else key[median + x]


@jit
def _sum_below(weight: Any, sums: Any, key: Any, candidate: Any, taps: int) -> None:
    """Sum the weights of those taps whose keys are below the candidates."""
    zero = weight.dtype.type(0)
    clear(weight, sums, _BLOCK)
    for k in range(np.uint64(taps)):
        place = k * np.uint64(_BLOCK)
        for x in range(np.uint64(_BLOCK)):
            weight[sums + x] += weight[place + x] if key[place + x] < key[candidate + x] else zero


@jit
def _write(output: Any, tap: Any, start: int, count: int, key: Any, weight: Any, taps: int) -> None:
    """Write a block's medians and the first taps that have them."""
    bits, place, median = 8 * key.itemsize, np.uint64(start), np.uint64(taps * _BLOCK)
    for x in range(np.uint64(count)):
        found = key[median + x]
        output[place + x] = found ^ (found >> bits - 1 & (1 << bits - 1) - 1)  # the lowest key becomes NaN
        tap[place + x] = -1
    for k in range(taps - 1, -1, -1):
        line = np.uint64(k * _BLOCK)
        for x in range(np.uint64(count)):
            has = key[line + x] == key[median + x] and weight[line + x] > 0
            tap[place + x] = k if has else tap[place + x]


@kernel
def _backward(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_backward_row, threads, tasks, arguments)


@jit
def _backward_row(task: int, thread: int, gradient: Any, tap: Any, result: Any, problem: Any) -> None:
    """Add, for every tap, the gradients of those windows that see the pixel there and have taken it."""
    plane, y = task // problem.height * problem.height, task % problem.height
    clear(result, task * problem.width, problem.width)
    for k in range(problem.kernel_height * problem.kernel_width):
        row = y - k // problem.kernel_width * problem.dilation_y + problem.top
        shift = problem.left - k % problem.kernel_width * problem.dilation_x
        if 0 <= row < problem.height:
            low = min(max(0, -shift), problem.width)
            high = max(low, min(problem.width, problem.width - shift))
            to, place = task * problem.width + low, (plane + row) * problem.width + low + shift
            _add_where_taken(result, to, gradient, tap, place, k, high - low)


@jit
def _add_where_taken(result: Any, start: int, gradient: Any, tap: Any, place: int, k: int, count: int) -> None:
    to, at, zero = np.uint64(start), np.uint64(place), result.dtype.type(0)
    for x in range(np.uint64(count)):
        result[to + x] += gradient[at + x] if tap[at + x] == k else zero
