"""Eq. 4 and its gradients on CPU.

A task is a few image rows, as far apart as rows of taps, so that their windows see the same rows. It has a line of
weights per tap, one weight per pixel of its rows, and for as many channels as a tile has rows a copy of all that its
windows see. In the copy, a row is followed by a gap of zeros as wide as windows reach: there, a fixed number of places
after each pixel is what it sees at a tap, a 0 if that is outside the image. So the innermost loop has no border.
Indices are unsigned where a loop shall vectorise: signed ones might count from the end. Innermost functions have one
way out: with a second `return`, Numba counts references to the arrays, and threads wait for each other's counting.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from segaware.ops._layout import to_contiguous
from segaware.ops._loops import accumulate, add_product, clear, copy
from segaware.ops._parallel import flat, jit, kernel, parallel_for, record, thread_count
from segaware.ops._tile import vector_lanes
from segaware.ops.filtering._tile import ROWS, add_products
from segaware.ops.window import Window

_PIXELS = 1024  # of a task: more are no faster
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
    rows: int  # of a task, dilation_y apart
    gap: int
    pitch: int  # from row to row of a copy
    copy: int  # size of a copy
    span: int  # from row to row of a line
    line: int  # size of a line

    @classmethod
    def of(cls, input: Tensor, window: Window, border: str) -> _Problem:
        """Take them from the arguments of the operator."""
        batch, channels, height, width = input.shape
        gap, lanes = max(window.padding[1]), vector_lanes(input.itemsize)
        pitch, span = width + gap, _round_up(max(1, width), lanes)
        rows = min(_PIXELS // span, _WEIGHTS // (window.size * span), batch * height // _TASKS)
        rows = max(1, min(rows, -(-height // window.dilation[0])))
        copy = _round_up(gap + (rows + window.kernel_size[0] - 1) * pitch + lanes, lanes)
        return cls(
            channels, height, width, *window.kernel_size, *window.padding[0], *window.padding[1], *window.dilation,
            border == "exclude", rows, gap, pitch, copy, span, rows * span,
        )  # fmt: skip

    def tasks(self, input: Tensor) -> int:
        """Return the number of tasks."""
        return input.shape[0] * self.dilation_y * -(-self.height // (self.dilation_y * self.rows))

    def scratch(self, input: Tensor, threads: int) -> np.ndarray:
        """Allocate a copy and a line for each row of a tile, and lines of weights, for every thread."""
        lines = ROWS + self.kernel_height * self.kernel_width
        return input.new_empty(threads, ROWS * self.copy + lines * self.line).numpy()

    def places(self, left: int) -> np.ndarray:
        """Return where in a copy is what the first pixel of a row sees at each tap, of a window that reaches `left`.

        Then where each copy begins.
        """
        i, j = np.indices((self.kernel_height, self.kernel_width)).reshape(2, -1)
        seen = self.gap - left + i * self.pitch + j * self.dilation_x
        return np.concatenate([seen, np.arange(ROWS) * self.copy])


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def forward(input: Tensor, mask: Tensor, window: Window, border: str) -> tuple[Tensor, Tensor]:
    """Return the filtered input (N, C, H, W), and the sums of the mask that it is divided by (N, 1, H, W)."""
    input, mask = to_contiguous(input), to_contiguous(mask)
    output, total = input.new_empty(input.shape), input.new_empty(mask[:, :1].shape)
    problem, threads = _Problem.of(input, window, border), thread_count()
    places, scratch = problem.places(problem.left), problem.scratch(input, threads)
    arguments = flat(input), flat(mask), flat(output), flat(total), places, scratch, record(problem)
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
        common = problem.places(problem.right), scratch, record(problem)
        _input_gradient(threads, tasks, (flat(gradient), flat(mask), inverse, flat(input_gradient), *common))
    if needed[1]:
        common = problem.places(problem.left), scratch, record(problem)
        arguments = flat(gradient), flat(input), flat(output), inverse, flat(mask_gradient), *common
        _mask_gradient(threads, tasks, arguments)
    return input_gradient, mask_gradient


@kernel
def _forward(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_forward_rows, threads, tasks, arguments)


@jit
def _forward_rows(
    task: int, thread: int, input: Any, mask: Any, output: Any, total: Any, places: Any, scratch: Any, problem: Any
) -> None:
    """Filter a few rows, with the mask as weights."""
    image, y, rows = _task_rows(task, problem)
    memory, width, taps = scratch[thread], problem.width, problem.kernel_height * problem.kernel_width
    weights = ROWS * (problem.copy + problem.line)
    first, last = _visited_taps(y, rows, problem.top, problem)
    for k in range(first, last):
        for r in range(rows):
            place, row = weights + (k - first) * problem.line + r * problem.span, y + r * problem.dilation_y
            copy(memory, place, mask, ((image * taps + k) * problem.height + row) * width, width)
            clear(memory, place + width, problem.span - width)
    _sum_taps(output, input, memory, image, y, rows, first, last, problem.top, places, problem)
    for r in range(rows):
        row = y + r * problem.dilation_y
        sums = (image * problem.height + row) * width
        clear(total, sums, width)
        for k in range(first, last):
            low, high = _counted_columns(k, row, problem)
            place = weights + (k - first) * problem.line + r * problem.span + low
            accumulate(total, sums + low, memory, place, high - low)
        for channel in range(problem.channels):
            place = ((image * problem.channels + channel) * problem.height + row) * width
            _divide(output, place, total, sums, width)


@jit
def _task_rows(task: int, problem: Any) -> Any:
    """Return the image of a task, its first row, and the number of its rows, which may be 0."""
    step = problem.dilation_y
    tasks = step * -(-problem.height // (step * problem.rows))
    y = task % tasks // step * problem.rows * step + task % step
    return task // tasks, y, max(0, min(problem.rows, -((y - problem.height) // step)))


@jit
def _visited_taps(y: int, rows: int, reach: int, problem: Any) -> Any:
    """Return the taps first..last-1 that matter to the rows from y on: those in rows of taps that see the image."""
    first, last = 0, problem.kernel_height
    if problem.exclude:
        bottom = y + (rows - 1) * problem.dilation_y
        first = max(0, -((bottom - reach) // problem.dilation_y))
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
    result: Any, input: Any, memory: Any, image: int, y: int, rows: int, first: int, last: int, top: int, places: Any,
    problem: Any,
) -> None:  # fmt: skip
    """Write, for every channel, the sum over taps first..last-1 of their weights times what they see of the input."""
    height, width, span, line = problem.height, problem.width, problem.span, problem.line
    lines, taps = ROWS * problem.copy, problem.kernel_height * problem.kernel_width
    weights = lines + ROWS * line
    for channel in range(0, problem.channels, ROWS):
        plane, count = image * problem.channels + channel, min(ROWS, problem.channels - channel)
        for c in range(count):
            _copy_seen(memory, c * problem.copy, input, plane + c, y - top, problem)
        clear(memory, lines, count * line)
        for r in range(rows):
            add_products(
                memory, lines + r * span, line, weights + r * span, line, r * problem.pitch, places, taps, first,
                count, last - first, width,
            )  # fmt: skip
        for c in range(count):
            for r in range(rows):
                place = ((plane + c) * height + y + r * problem.dilation_y) * width
                copy(result, place, memory, lines + c * line + r * span, width)


@jit
def _copy_seen(memory: Any, place: int, input: Any, plane: int, y: int, problem: Any) -> None:
    """Copy what the windows of a task see of one plane of the input: rows from y on, which may be outside."""
    end = place + problem.copy
    clear(memory, place, problem.gap)
    place += problem.gap
    for r in range(problem.rows + problem.kernel_height - 1):
        row = y + r * problem.dilation_y
        if 0 <= row < problem.height:
            copy(memory, place, input, (plane * problem.height + row) * problem.width, problem.width)
            clear(memory, place + problem.width, problem.gap)
        else:
            clear(memory, place, problem.pitch)
        place += problem.pitch
    clear(memory, place, end - place)


@kernel
def _input_gradient(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_input_gradient_rows, threads, tasks, arguments)


@jit
def _input_gradient_rows(
    task: int, thread: int, gradient: Any, mask: Any, inverse: Any, result: Any, places: Any, scratch: Any,
    problem: Any,
) -> None:  # fmt: skip
    """Filter the gradient: a pixel has at tap k the weight that it has in the window whose opposite tap it is."""
    image, y, rows = _task_rows(task, problem)
    memory, plane, taps = scratch[thread], problem.height * problem.width, problem.kernel_height * problem.kernel_width
    weights = ROWS * (problem.copy + problem.line)
    first, last = _visited_taps(y, rows, problem.bottom, problem)
    for k in range(first, last):
        i, shift = k // problem.kernel_width, k % problem.kernel_width * problem.dilation_x - problem.right
        for r in range(rows):
            place = weights + (k - first) * problem.line + r * problem.span
            clear(memory, place, problem.span)
            window_row = y + (r + i) * problem.dilation_y - problem.bottom
            low, high = _inside(window_row, shift, problem)
            pixel = window_row * problem.width + low + shift
            opposite = (image + 1) * taps - 1 - k
            add_product(memory, place + low, mask, opposite * plane + pixel, inverse, image * plane + pixel, high - low)
    _sum_taps(result, gradient, memory, image, y, rows, first, last, problem.bottom, places, problem)


@kernel
def _mask_gradient(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_mask_gradient_rows, threads, tasks, arguments)


@jit
def _mask_gradient_rows(
    task: int, thread: int, gradient: Any, input: Any, output: Any, inverse: Any, result: Any, places: Any,
    scratch: Any, problem: Any,
) -> None:  # fmt: skip
    """Write sum_c g_c (x_kc - y_c) / sum_k m_k; where the weights of tap k were grows the sum of g_c x_kc."""
    image, y, rows = _task_rows(task, problem)
    memory, height, width, span, line = scratch[thread], problem.height, problem.width, problem.span, problem.line
    lines, taps = ROWS * problem.copy, problem.kernel_height * problem.kernel_width
    sums = lines + ROWS * line
    first, last = _visited_taps(y, rows, problem.top, problem)
    clear(memory, sums, (last - first) * line)
    for channel in range(0, problem.channels, ROWS):
        count = min(ROWS, problem.channels - channel)
        for c in range(count):
            plane = image * problem.channels + channel + c
            _copy_seen(memory, c * problem.copy, input, plane, y - problem.top, problem)
            for r in range(rows):
                place = lines + c * line + r * span
                copy(memory, place, gradient, (plane * height + y + r * problem.dilation_y) * width, width)
                clear(memory, place + width, span - width)
        for r in range(rows):
            for k in range(first, last, ROWS):
                place, several = sums + (k - first) * line + r * span, min(ROWS, last - k)
                add_products(
                    memory, place, line, lines + r * span, line, r * problem.pitch, places, k, taps, several, count,
                    width,
                )  # fmt: skip
    for r in range(rows):
        row = y + r * problem.dilation_y
        clear(memory, lines, width)
        for channel in range(problem.channels):
            place = ((image * problem.channels + channel) * height + row) * width
            add_product(memory, lines, gradient, place, output, place, width)
        for k in range(taps):
            low, high = _counted_columns(k, row, problem)
            to = ((image * taps + k) * height + row) * width
            clear(result, to, low)
            clear(result, to + high, width - high)
            at = sums + (k - first) * line + r * span + low
            pixel = (image * height + row) * width + low
            _write_mask_gradient(result, to + low, memory, at, lines + low, inverse, pixel, high - low)


@jit
def _write_mask_gradient(
    result: Any, place: int, memory: Any, sums: int, subtracted: int, inverse: Any, pixel: int, n: int
) -> None:
    to, a, b, c = np.uint64(place), np.uint64(sums), np.uint64(subtracted), np.uint64(pixel)
    for x in range(np.uint64(n)):
        result[to + x] = (memory[a + x] - memory[b + x]) * inverse[c + x]


@jit
def _divide(result: Any, place: int, a: Any, a_place: int, n: int) -> None:
    to, p = np.uint64(place), np.uint64(a_place)
    for x in range(np.uint64(n)):
        result[to + x] /= a[p + x]
