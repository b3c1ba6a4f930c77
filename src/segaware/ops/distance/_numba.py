"""The distances of Eq. 1 and Eq. 3 and their gradient on CPU.

Innermost are loops along the pixels p of a few whole image rows and their neighbours p + shift. Where the neighbour of
a pixel is outside the image, p + shift is a pixel of another row; it is computed with, and the result is not used.
Indices are unsigned where a loop shall vectorise: signed ones might count from the end. Innermost functions have one
way out: with a second `return`, Numba counts references to the arrays, and threads wait for each other's counting.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from segaware.ops._loops import add_differences, clear
from segaware.ops._parallel import flat, jit, kernel, parallel_for, record, thread_count
from segaware.ops.window import Window

_PIXELS = 1024  # of a task: longer loops are no faster
_SUMS = 1 << 15  # of a task at once: they stay in the L2 cache
_TASKS = 16  # at least, if there are as many rows: work for many threads


class _Problem(NamedTuple):
    """The numbers of one call that every kernel needs."""

    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    offset_y: int  # the pixel that the first output pixel is centred at
    offset_x: int
    dilation_y: int
    dilation_x: int
    rows: int  # of a task
    taps: int  # that a task computes at once
    symmetric: bool  # every pixel is the centre of one window, so every distance stands at both of its ends
    squared: bool
    root: bool

    @classmethod
    def of(cls, embedding: Tensor, window: Window, metric: str, rows: int, taps: int) -> _Problem:
        """Take them from the arguments of the operator; tasks share so many rows and taps of every image."""
        batch, channels, height, width = embedding.shape
        (i, j), (dilation_y, dilation_x), ((top, _), (left, _)) = window.centre, window.dilation, window.padding
        task_rows = min(_PIXELS // max(1, width), batch * rows // _TASKS) if window.stride[0] == 1 else 1
        task_rows = max(1, task_rows)
        task_taps = max(1, min(taps, _SUMS // max(1, task_rows * width)))
        return cls(
            channels, height, width, *window.output_size(embedding), *window.kernel_size, *window.stride,
            i * dilation_y - top, j * dilation_x - left, dilation_y, dilation_x, task_rows, task_taps,
            _is_symmetric(window), metric != "l1", metric == "euclidean",
        )  # fmt: skip


def _is_symmetric(window: Window) -> bool:
    return window.size % 2 == 1 and window == Window.of(window.kernel_size, 1, "same", window.dilation)


def forward(embedding: Tensor, window: Window, metric: str) -> Tensor:
    """Return the distances (N, K, Ho, Wo) of embeddings (N, E, H, W)."""
    embedding = embedding.contiguous()
    batch, (height, width) = embedding.shape[0], window.output_size(embedding)
    distance = embedding.new_empty(batch, window.size, height, width)
    taps = window.size // 2 + 1 if _is_symmetric(window) else window.size
    problem, threads = _Problem.of(embedding, window, metric, height, taps), thread_count()
    sums = embedding.new_empty(threads, problem.taps * problem.rows * problem.width).numpy()
    _forward(threads, batch * -(-height // problem.rows), (flat(embedding), flat(distance), sums, record(problem)))
    return distance


def backward(gradient: Tensor, embedding: Tensor, distance: Tensor, window: Window, metric: str) -> Tensor:
    """Return the gradient of the embeddings, given that of their distances."""
    gradient, embedding = gradient.contiguous(), embedding.contiguous()
    batch, _, height, _ = embedding.shape
    result = embedding.new_empty(embedding.shape)
    neighbours = (window.centre[0] * 2 + 1) * (window.centre[1] * 2 + 1)
    problem, threads = _Problem.of(embedding, window, metric, height, neighbours), thread_count()
    weights = embedding.new_empty(threads, problem.taps * problem.rows * problem.width).numpy()
    arguments = flat(gradient), flat(embedding), flat(distance), flat(result), weights, record(problem)
    _backward(threads, batch * -(-height // problem.rows), arguments)
    return result


@kernel
def _forward(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_forward_rows, threads, tasks, arguments)


@jit
def _forward_rows(task: int, thread: int, embedding: Any, distance: Any, scratch: Any, problem: Any) -> None:
    """Compute the distances of a few output rows. Of symmetric ones compute half, and write those to both ends."""
    sums, width, plane, kw = scratch[thread], problem.width, problem.height * problem.width, problem.kernel_width
    tasks = -(-problem.out_height // problem.rows)
    image, row = task // tasks, task % tasks * problem.rows
    rows, line = min(problem.rows, problem.out_height - row), problem.rows * width
    y = row * problem.stride_y + problem.offset_y
    taps = problem.kernel_height * kw
    for first in range(taps // 2 if problem.symmetric else 0, taps, problem.taps):
        last = min(first + problem.taps, taps)
        clear(sums, 0, len(sums))
        for channel in range(0, problem.channels, 4):
            start, count = (image * problem.channels + channel) * plane, min(4, problem.channels - channel)
            for k in range(first, last):
                v, u = _offset(k // kw - problem.kernel_height // 2, k % kw - kw // 2, problem)
                low, high, shift = _pixels(y, rows, v, u, problem)
                place = (k - first) * line + low - y * width
                a, b = start + low, start + low + shift
                add_differences(
                    sums, place, embedding, a, plane, embedding, b, plane, high - low, count, problem.squared
                )
        for k in range(first, last):
            v, u = _offset(k // kw - problem.kernel_height // 2, k % kw - kw // 2, problem)
            for r in range(rows):
                place, there = (k - first) * line + r * width, y + r + v
                inside = 0 <= y + r < problem.height and 0 <= there < problem.height
                mirrored = (image + 1) * taps - 1 - k
                for end in range(2 if problem.symmetric and inside else 1):
                    tap, to = (mirrored, there) if end else (image * taps + k, row + r)
                    _write(distance, tap, to, sums, place, u, end * u, inside, problem)
                if problem.symmetric and y + r - v < 0:  # nobody writes to this row from the other end
                    clear(distance, (mirrored * problem.height + y + r) * width, width)


@jit
def _offset(i: int, j: int, problem: Any) -> Any:
    """Return how far below and right of the centre is the tap i rows and j columns from the centre."""
    return i * problem.dilation_y, j * problem.dilation_x


@jit
def _pixels(y: int, rows: int, v: int, u: int, problem: Any) -> Any:
    """Return the pixels low..high-1 of image rows y..y+rows-1 whose neighbour p + shift exists, and the shift."""
    plane, shift = problem.height * problem.width, v * problem.width + u
    low = max(0, -shift, y * problem.width)
    return low, max(low, min(plane, plane - shift, (y + rows) * problem.width)), shift


@jit
def _write(
    distance: Any, tap: int, row: int, sums: Any, place: int, u: int, shift: int, inside: bool, problem: Any
) -> None:
    """Write one row of distances: the sum of image column x to the output column that is centred at x + shift.

    The distance is 0 unless `inside` and x + u is in the image.
    """
    low, high = max(0, -u), (min(problem.width, problem.width - u) if inside else 0)
    begin, end, x = _output_columns(low, high, shift, problem)
    start = (tap * problem.out_height + row) * problem.out_width
    clear(distance, start, begin)
    clear(distance, start + end, problem.out_width - end)
    to, at, stride, root = np.uint64(start + begin), np.uint64(place + x), np.uint64(problem.stride_x), problem.root
    for column in range(np.uint64(end - begin)):
        value = sums[at + column * stride]
        distance[to + column] = np.sqrt(value) if root else value


@jit
def _output_columns(low: int, high: int, shift: int, problem: Any) -> Any:
    """Return the output columns begin..end-1 that are centred at x + shift for x in low..high-1, and the first x."""
    offset, stride, width = problem.offset_x - shift, problem.stride_x, problem.out_width
    begin = min(max(-((offset - low) // stride), 0), width)
    end = max(begin, min(-((offset - high) // stride), width))
    return begin, end, begin * stride + offset


@kernel
def _backward(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_backward_rows, threads, tasks, arguments)


@jit
def _backward_rows(
    task: int, thread: int, gradient: Any, embedding: Any, distance: Any, result: Any, scratch: Any, problem: Any
) -> None:
    """Write the gradient of a few image rows.

    A pixel and a neighbour meet in the window of the one and in that of the other, if they have one. The weight of the
    pixel, for this neighbour, is the sum of both gradients.
    """
    weights, width, plane = scratch[thread], problem.width, problem.height * problem.width
    tasks = -(-problem.height // problem.rows)
    image, y = task // tasks, task % tasks * problem.rows
    rows, line = min(problem.rows, problem.height - y), problem.rows * width
    for channel in range(problem.channels):
        clear(result, (image * problem.channels + channel) * plane + y * width, rows * width)
    top, left = problem.kernel_height // 2, problem.kernel_width // 2
    columns = 2 * left + 1
    neighbours = (2 * top + 1) * columns
    for first in range(0, neighbours, problem.taps):
        last = min(first + problem.taps, neighbours)
        clear(weights, 0, len(weights))
        for k in range(first, last):
            for r in range(rows):
                place = (k - first) * line + r * width
                _add_weights(
                    weights, place, gradient, distance, image, y + r, k // columns - top, k % columns - left, problem
                )
        for channel in range(problem.channels):
            start = (image * problem.channels + channel) * plane
            for k in range(first, last):
                v, u = _offset(k // columns - top, k % columns - left, problem)
                low, high, shift = _pixels(y, rows, v, u, problem)
                if shift != 0:
                    place = (k - first) * line + low - y * width
                    _add_gradients(result, start + low, weights, place, embedding, shift, high - low, problem.squared)


@jit
def _add_weights(
    weights: Any, place: int, gradient: Any, distance: Any, image: int, y: int, i: int, j: int, problem: Any
) -> None:
    """Add the gradients of image row y and its neighbours i rows and j columns of taps away to their weights."""
    v, u = _offset(i, j, problem)
    for swap in range(
        2 if 0 <= y + v < problem.height else 0
    ):  # the window is that of the pixel, then that of the neighbour
        centre, shift, ki, kj = (y + v, u, -i, -j) if swap else (y, 0, i, j)
        ki, kj = ki + problem.kernel_height // 2, kj + problem.kernel_width // 2
        row = (centre - problem.offset_y) // problem.stride_y
        exists = row * problem.stride_y + problem.offset_y == centre and 0 <= row < problem.out_height
        if exists and ki < problem.kernel_height and kj < problem.kernel_width:
            low, high = max(0, -u), min(problem.width, problem.width - u)
            begin, end, x = _output_columns(low, high, shift, problem)
            tap = (image * problem.kernel_height + ki) * problem.kernel_width + kj
            start = (tap * problem.out_height + row) * problem.out_width + begin
            _add_scaled(weights, place + x, gradient, distance, start, end - begin, problem)


@jit
def _add_scaled(weights: Any, place: int, gradient: Any, distance: Any, start: int, n: int, problem: Any) -> None:
    """Add gradients of distances to weights, times what is left of the distance's derivative in `_add_gradients`."""
    to, at, stride = np.uint64(place), np.uint64(start), np.uint64(problem.stride_x)
    zero, root, squared = weights.dtype.type(0), problem.root, problem.squared
    for column in range(np.uint64(n)):
        weight, d = gradient[at + column], distance[at + column]
        if root:
            weight = weight / d if d > zero else zero
        elif squared:
            weight += weight
        weights[to + column * stride] += weight


@jit
def _add_gradients(
    result: Any, start: int, weights: Any, place: int, embedding: Any, shift: int, n: int, squared: bool
) -> None:
    """Add to n pixels p from `start` their weight times e[p] - e[p + shift], or times the sign of that."""
    p, q, w = np.uint64(start), np.uint64(start + shift), np.uint64(place)
    zero = result.dtype.type(0)
    if squared:
        for x in range(np.uint64(n)):
            weight = weights[w + x]
            # A weight of 0 may belong to no neighbour: then what is there may be NaN.
            result[p + x] += weight * (embedding[p + x] - embedding[q + x]) if weight != zero else zero
    else:
        for x in range(np.uint64(n)):
            weight, a, b = weights[w + x], embedding[p + x], embedding[q + x]
            result[p + x] += (weight if a > b else zero) - (weight if a < b else zero)
