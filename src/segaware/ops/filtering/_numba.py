"""Eq. 4 and its gradients on CPU.

A task is a few image rows. It has a line of weights per tap, with one weight per pixel of its rows, and for two or
three channels at a time a copy of all that its windows see. In both, a row is followed by a gap as wide as windows
reach. The gaps of the copy are 0: there, a fixed number of places after each pixel is what it sees at a tap, a 0 if
that is outside the image. So the innermost loop runs through all rows at once, without a border.
Indices are unsigned where a loop shall vectorise: signed ones might count from the end. Innermost functions have one
way out: with a second `return`, Numba counts references to the arrays, and threads wait for each other's counting.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from segaware.ops._layout import to_contiguous
from segaware.ops._parallel import flat, jit, parallel_for, thread_count
from segaware.ops.window import Window

_PIXELS = 1024  # of a task: longer loops are no faster
_WEIGHTS = 1 << 17  # of a task: they stay in the L2 cache
_TASKS = 16  # at least, if there are as many rows: work for many threads


class _Problem(NamedTuple):
    """The numbers of one call that every kernel needs."""

    channels: int
    height: int
    width: int
    kernel_height: int
    kernel_width: int
    top: int
    bottom: int
    left: int
    right: int
    dilation_y: int
    dilation_x: int
    exclude: bool  # leave taps outside the image out of the sums of the mask
    rows: int  # of a task
    gap: int
    pitch: int  # from row to row
    copy: int  # size of a copy
    line: int  # size of a line

    @classmethod
    def of(cls, input: Tensor, window: Window, border: str) -> _Problem:
        """Take them from the arguments of the operator."""
        batch, channels, height, width = input.shape
        gap = max(window.padding[1])
        pitch = max(1, width + gap)
        rows = max(1, min(_PIXELS // pitch, _WEIGHTS // (window.size * pitch), batch * height // _TASKS))
        return cls(
            channels, height, width, *window.kernel_size, *window.padding[0], *window.padding[1], *window.dilation,
            border == "exclude", rows, gap, pitch, gap + (rows + sum(window.padding[0])) * pitch, rows * pitch,
        )  # fmt: skip

    def tasks(self, input: Tensor) -> int:
        """Return the number of tasks."""
        return input.shape[0] * -(-self.height // self.rows)

    def scratch(self, input: Tensor, threads: int) -> np.ndarray:
        """Allocate three copies, a line for each of three channels, and lines of weights for every thread."""
        lines = 3 + self.kernel_height * self.kernel_width + 2  # taps come in twos and threes
        return input.new_empty(threads, 3 * self.copy + lines * self.line).numpy()


def forward(input: Tensor, mask: Tensor, window: Window, border: str) -> tuple[Tensor, Tensor]:
    """Return the filtered input (N, C, H, W), and the sums of the mask that it is divided by (N, 1, H, W)."""
    input, mask = to_contiguous(input), to_contiguous(mask)
    output, total = input.new_empty(input.shape), input.new_empty(mask[:, :1].shape)
    problem, threads = _Problem.of(input, window, border), thread_count()
    arguments = flat(input), flat(mask), flat(output), flat(total), problem.scratch(input, threads), problem
    _forward(threads, problem.tasks(input), arguments)
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
    gradient, input, mask = (to_contiguous(t) for t in (gradient, input, mask))
    problem, threads = _Problem.of(input, window, border), thread_count()
    inverse, scratch, tasks = flat(total.reciprocal()), problem.scratch(input, threads), problem.tasks(input)
    input_gradient, mask_gradient = (
        t.new_empty(t.shape if need else 0) for t, need in zip((input, mask), needed, strict=True)
    )
    if needed[0]:
        _input_gradient(threads, tasks, (flat(gradient), flat(mask), inverse, flat(input_gradient), scratch, problem))
    if needed[1]:
        arguments = flat(gradient), flat(input), flat(output), inverse, flat(mask_gradient), scratch, problem
        _mask_gradient(threads, tasks, arguments)
    return input_gradient, mask_gradient


@jit
def _forward(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_forward_rows, threads, tasks, arguments)


@jit
def _forward_rows(
    task: int, thread: int, input: Any, mask: Any, output: Any, total: Any, scratch: Any, problem: Any
) -> None:
    """Filter a few rows, with the mask as weights."""
    image, y, end = _task_rows(task, problem)
    memory, width, taps = scratch[thread], problem.width, problem.kernel_height * problem.kernel_width
    weights = 3 * problem.copy + 3 * problem.line
    first, last = _visited_taps(y, end, problem.top, problem)
    for k in range(first, last):
        for row in range(y, end):
            place = weights + (k - first) * problem.line + (row - y) * problem.pitch
            _copy(memory, place, mask, ((image * taps + k) * problem.height + row) * width, width)
            _clear(memory, place + width, problem.gap)
    _sum_taps(output, input, memory, image, y, end, first, last, problem.top, problem.left, problem)
    for row in range(y, end):
        sums = (image * problem.height + row) * width
        _clear(total, sums, width)
        for k in range(first, last):
            low, high = _counted_columns(k, row, problem)
            place = weights + (k - first) * problem.line + (row - y) * problem.pitch + low
            _add(total, sums + low, memory, place, high - low)
        for channel in range(problem.channels):
            place = ((image * problem.channels + channel) * problem.height + row) * width
            _divide(output, place, total, sums, width)


@jit
def _task_rows(task: int, problem: Any) -> Any:
    """Return the image of a task, its first row, and the row after its last."""
    tasks = -(-problem.height // problem.rows)
    y = task % tasks * problem.rows
    return task // tasks, y, min(y + problem.rows, problem.height)


@jit
def _visited_taps(y: int, end: int, reach: int, problem: Any) -> Any:
    """Return the taps first..last-1 that matter to rows y..end-1: those in rows of taps that see the image."""
    first, last = 0, problem.kernel_height
    if problem.exclude:
        first = max(0, -((end - 1 - reach) // problem.dilation_y))
        last = max(first, min(last, (problem.height - 1 - y + reach) // problem.dilation_y + 1))
    return first * problem.kernel_width, last * problem.kernel_width


@jit
def _counted_columns(k: int, row: int, problem: Any) -> Any:
    """Return the columns low..high-1 of a row where tap k belongs to the sum of the mask."""
    if not problem.exclude:
        return 0, problem.width
    v, u = k // problem.kernel_width * problem.dilation_y, k % problem.kernel_width * problem.dilation_x
    return _inside(row + v - problem.top, u - problem.left, problem)


@jit
def _inside(row: int, shift: int, problem: Any) -> Any:
    """Return the columns x, low..high-1, for which (row, x + shift) is a pixel of the image."""
    if not 0 <= row < problem.height:
        return 0, 0
    low = min(max(0, -shift), problem.width)
    return low, max(low, min(problem.width, problem.width - shift))


@jit
def _sum_taps(
    result: Any, input: Any, memory: Any, image: int, y: int, end: int, first: int, last: int, top: int, left: int,
    problem: Any,
) -> None:  # fmt: skip
    """Write, for every channel, the sum over taps first..last-1 of their weights times what they see of the input."""
    height, width, lines = problem.height, problem.width, 3 * problem.copy
    weights, n = lines + 3 * problem.line, (end - y) * problem.pitch - problem.gap
    _clear(memory, weights + (last - first) * problem.line, 2 * problem.line)  # taps come in threes
    for channel in range(0, problem.channels, 2):
        for c in range(2):
            plane = image * problem.channels + min(channel + c, problem.channels - 1)
            _copy_seen(memory, c * problem.copy, input, plane, y - top, problem)
        _clear(memory, lines, 2 * problem.line)
        for k in range(first, last, 3):
            p = _seen_at(k, left, problem)
            q, r = _seen_at(min(k + 1, last - 1), left, problem), _seen_at(min(k + 2, last - 1), left, problem)
            place = weights + (k - first) * problem.line
            _add_products(memory, lines, place, problem.line, p, q, r, problem.copy, n)
        for c in range(min(2, problem.channels - channel)):
            for row in range(y, end):
                place = ((image * problem.channels + channel + c) * height + row) * width
                _copy(result, place, memory, lines + c * problem.line + (row - y) * problem.pitch, width)


@jit
def _copy_seen(memory: Any, place: int, input: Any, plane: int, first_row: int, problem: Any) -> None:
    """Copy what the windows of a task see of one plane of the input, from `first_row` on, which may be outside."""
    _clear(memory, place, problem.gap)
    place += problem.gap
    for row in range(first_row, first_row + problem.rows + problem.top + problem.bottom):
        if 0 <= row < problem.height:
            _copy(memory, place, input, (plane * problem.height + row) * problem.width, problem.width)
            _clear(memory, place + problem.width, problem.gap)
        else:
            _clear(memory, place, problem.pitch)
        place += problem.pitch


@jit
def _seen_at(k: int, left: int, problem: Any) -> int:
    """Return where in a copy is what the first pixel of a line sees at tap k, of a window that reaches `left`."""
    i, j = k // problem.kernel_width, k % problem.kernel_width
    return problem.gap - left + i * problem.dilation_y * problem.pitch + j * problem.dilation_x


@jit
def _input_gradient(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_input_gradient_rows, threads, tasks, arguments)


@jit
def _input_gradient_rows(
    task: int, thread: int, gradient: Any, mask: Any, inverse: Any, result: Any, scratch: Any, problem: Any
) -> None:
    """Filter the gradient: a pixel has at tap k the weight that it has in the window whose opposite tap it is."""
    image, y, end = _task_rows(task, problem)
    memory, plane, taps = scratch[thread], problem.height * problem.width, problem.kernel_height * problem.kernel_width
    weights = 3 * problem.copy + 3 * problem.line
    first, last = _visited_taps(y, end, problem.bottom, problem)
    for k in range(first, last):
        v, u = k // problem.kernel_width * problem.dilation_y, k % problem.kernel_width * problem.dilation_x
        for row in range(y, end):
            place = weights + (k - first) * problem.line + (row - y) * problem.pitch
            _clear(memory, place, problem.pitch)
            window_row, shift = row + v - problem.bottom, u - problem.right
            low, high = _inside(window_row, shift, problem)
            pixel = window_row * problem.width + low + shift
            opposite = (image + 1) * taps - 1 - k
            _add_product(
                memory, place + low, mask, opposite * plane + pixel, inverse, image * plane + pixel, high - low
            )
    _sum_taps(result, gradient, memory, image, y, end, first, last, problem.bottom, problem.right, problem)


@jit
def _mask_gradient(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_mask_gradient_rows, threads, tasks, arguments)


@jit
def _mask_gradient_rows(
    task: int, thread: int, gradient: Any, input: Any, output: Any, inverse: Any, result: Any, scratch: Any,
    problem: Any,
) -> None:  # fmt: skip
    """Write sum_c g_c (x_kc - y_c) / sum_k m_k; where the weights of tap k were grows the sum of g_c x_kc."""
    image, y, end = _task_rows(task, problem)
    memory, height, width, lines = scratch[thread], problem.height, problem.width, 3 * problem.copy
    sums, n = lines + 3 * problem.line, (end - y) * problem.pitch - problem.gap
    first, last = _visited_taps(y, end, problem.top, problem)
    _clear(memory, sums, (last - first) * problem.line)
    for channel in range(0, problem.channels, 3):
        _clear(memory, lines, 3 * problem.line)
        for c in range(3):
            plane = image * problem.channels + min(channel + c, problem.channels - 1)
            _copy_seen(memory, c * problem.copy, input, plane, y - problem.top, problem)
            for row in range(y, end if channel + c < problem.channels else y):
                place = lines + c * problem.line + (row - y) * problem.pitch
                _copy(memory, place, gradient, (plane * height + row) * width, width)
        for k in range(first, last, 2):
            p = _seen_at(k, problem.left, problem)
            next_tap = _seen_at(min(k + 1, last - 1), problem.left, problem) - p
            place = sums + (k - first) * problem.line
            _add_products(memory, place, lines, problem.line, p, p + problem.copy, p + 2 * problem.copy, next_tap, n)
    for row in range(y, end):
        _clear(memory, lines, width)
        for channel in range(problem.channels):
            place = ((image * problem.channels + channel) * height + row) * width
            _add_product(memory, lines, gradient, place, output, place, width)
        for k in range(problem.kernel_height * problem.kernel_width):
            low, high = _counted_columns(k, row, problem)
            to = ((image * problem.kernel_height * problem.kernel_width + k) * height + row) * width
            _clear(result, to, low)
            _clear(result, to + high, width - high)
            at = sums + (k - first) * problem.line + (row - y) * problem.pitch + low
            pixel = (image * height + row) * width + low
            _write_mask_gradient(result, to + low, memory, at, lines + low, inverse, pixel, high - low)


@jit
def _add_products(memory: Any, sums: int, weights: int, line: int, p: Any, q: Any, r: Any, apart: int, n: int) -> None:
    """Add products of three lines of weights and what is at p, q, r to a line of sums, and in the same way to the next.

    For the next line of sums the same weights are multiplied with what is `apart` from p, q and r. In this way there
    are fewer than two loads, which are what takes the time, per product.
    """
    s, step, w = np.uint64(sums), np.uint64(line), np.uint64(weights)
    s2, w2 = s + step, w + step
    w3 = w2 + step
    p, q, r, far = np.uint64(p), np.uint64(q), np.uint64(r), np.uint64(apart)
    p2, q2, r2 = p + far, q + far, r + far
    for x in range(np.uint64(n)):
        a, b, c = memory[w + x], memory[w2 + x], memory[w3 + x]
        first = memory[s + x] + a * memory[p + x] + b * memory[q + x] + c * memory[r + x]
        second = memory[s2 + x] + a * memory[p2 + x] + b * memory[q2 + x] + c * memory[r2 + x]
        memory[s + x] = first
        memory[s2 + x] = second


@jit
def _write_mask_gradient(
    result: Any, place: int, memory: Any, sums: int, subtracted: int, inverse: Any, pixel: int, n: int
) -> None:
    to, a, b, c = np.uint64(place), np.uint64(sums), np.uint64(subtracted), np.uint64(pixel)
    for x in range(np.uint64(n)):
        result[to + x] = (memory[a + x] - memory[b + x]) * inverse[c + x]


@jit
def _add_product(result: Any, place: int, a: Any, a_place: int, b: Any, b_place: int, n: int) -> None:
    to, p, q = np.uint64(place), np.uint64(a_place), np.uint64(b_place)
    for x in range(np.uint64(n)):
        result[to + x] += a[p + x] * b[q + x]


@jit
def _add(result: Any, place: int, a: Any, a_place: int, n: int) -> None:
    to, p = np.uint64(place), np.uint64(a_place)
    for x in range(np.uint64(n)):
        result[to + x] += a[p + x]


@jit
def _divide(result: Any, place: int, a: Any, a_place: int, n: int) -> None:
    to, p = np.uint64(place), np.uint64(a_place)
    for x in range(np.uint64(n)):
        result[to + x] /= a[p + x]


@jit
def _copy(result: Any, place: int, a: Any, a_place: int, n: int) -> None:
    to, p = np.uint64(place), np.uint64(a_place)
    for x in range(np.uint64(n)):
        result[to + x] = a[p + x]


@jit
def _clear(result: Any, place: int, n: int) -> None:
    to = np.uint64(place)
    for x in range(np.uint64(n)):
        result[to + x] = 0
