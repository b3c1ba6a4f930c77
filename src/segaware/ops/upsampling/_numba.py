"""Joint bilateral upsampling and its gradients on CPU.

A task is a few rows of pixels, SPAN columns at a time. For these, coarse rows are spread out: a line per tap and
channel has what each of the pixels sees there. As many spread rows are kept as a pixel sees, in a ring, and used for
all rows of pixels between the same points. So the innermost loops go along lines, all of one length, known to the
compiler; where the image ends, they compute numbers that are not used. Backward there is a second ring, in which the
gradients of spread rows are summed until no further pixel sees them; several tasks see a coarse row, so each adds to
rows of its own, its part of the gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segaware.ops._exp import decay
from segaware.ops._layout import to_contiguous
from segaware.ops._loops import add_differences, add_product, clear, copy, gather, scatter
from segaware.ops._parallel import flat, jit, kernel, parallel_for, thread_count
from segaware.ops.filtering._tile import ROWS, add_products
from segaware.ops.upsampling.taps import Taps, taps_at

SPAN = 64  # columns at once, and the length of lines
_ROWS = 32  # of a task
_TASKS = 16  # at least, if there are as many rows: work for many threads


class _Problem(NamedTuple):
    """The numbers of one call that every kernel needs."""

    channels: int  # of the values
    both: int  # channels of values and embeddings
    height: int
    width: int
    points_height: int
    points_width: int
    taps: int  # along a side
    rows: int  # of a task
    hardness: float


class _Call:
    """The arguments of the operator as kernels take them."""

    def __init__(
        self, input: Tensor, embedding: Tensor, coarse_embedding: Tensor, hardness: Tensor, rows: Tensor,
        columns: Tensor, radius: int, rings: int,
    ) -> None:  # fmt: skip
        (height, width), points = embedding.shape[2:], input.shape[2:]
        batch, (points_height, points_width) = len(input), points
        self.points = torch.cat([input, coarse_embedding], dim=1).contiguous()
        both, taps = self.points.shape[1], (2 * radius) ** 2
        rows_of_task = max(1, min(_ROWS, batch * height // _TASKS))
        self.problem = _Problem(
            input.shape[1], both, height, width, points_height, points_width, 2 * radius, rows_of_task, hardness.item()
        )
        self.tasks, self.threads = batch * -(-height // rows_of_task), thread_count()
        self.rows, seen = (taps_at(side, n, radius) for side, n in zip((rows, columns), points, strict=True))
        self.columns = Taps(*(F.pad(t, (0, -width % SPAN)) for t in seen))
        # A ring or two, the embedding, lines per tap of distances and masks (and backward of gradients), lines of
        # several channels, and two more.
        lines = rings * both * taps + embedding.shape[1] + (rings + 1) * taps + ROWS + 2
        self.scratch = input.new_zeros(self.threads, lines * SPAN).numpy()
        # Where in a ring each tap of a pixel begins; then where each of several channels begins.
        self.places = np.zeros((self.threads, taps + ROWS), np.intp)
        self.places[:, taps:] = np.arange(ROWS) * SPAN
        sides = [t.to(input.dtype) if t.is_floating_point() else t for t in (*self.rows, *self.columns)]
        self.common = *map(flat, sides), self.scratch, self.places, self.problem


def forward(
    input: Tensor, embedding: Tensor, coarse_embedding: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor,
    radius: int,
) -> Tensor:  # fmt: skip
    """Return the upsampled input (N, C, H, W)."""
    embedding = to_contiguous(embedding)
    call = _Call(input, embedding, coarse_embedding, hardness, rows, columns, radius, rings=1)
    output = input.new_empty(*input.shape[:2], *embedding.shape[2:])
    _forward(call.threads, call.tasks, (flat(call.points), flat(embedding), flat(output), *call.common))
    return output


@kernel
def _forward(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_forward_rows, threads, tasks, arguments)


@jit
def _forward_rows(
    task: int, thread: int, points: Any, embedding: Any, output: Any, rows: Any, row_weights: Any, columns: Any,
    column_weights: Any, scratch: Any, places: Any, problem: Any,
) -> None:  # fmt: skip
    """Upsample a few rows."""
    memory, tap_places, taps = scratch[thread], places[thread], problem.taps**2
    image, first, last = _task_rows(task, problem)
    own = problem.both * taps * SPAN
    distances = own + (problem.both - problem.channels) * SPAN
    masks, lines = distances + taps * SPAN, distances + 2 * taps * SPAN
    for left in range(0, problem.width, SPAN):
        n, newest = min(SPAN, problem.width - left), -1
        for y in range(first, last):
            newest = _spread(memory, tap_places, points, image, y, left, newest, rows, columns, problem)
            _write_distances(memory, distances, own, tap_places, embedding, image, y, left, problem)
            _write_masks(memory, distances, masks, lines, row_weights, y, column_weights, left, problem)
            for channel in range(0, problem.channels, ROWS):
                count = min(ROWS, problem.channels - channel)
                clear(memory, lines, count * SPAN)
                add_products(memory, lines, SPAN, masks, SPAN, channel * SPAN, tap_places, taps, 0, count, taps, SPAN)
                for c in range(count):
                    place = _pixel(image * problem.channels + channel + c, y, left, problem)
                    copy(output, place, memory, lines + c * SPAN, n)


@jit
def _task_rows(task: int, problem: Any) -> Any:
    """Return the image of a task, its first row of pixels, and that behind its last."""
    tasks = -(-problem.height // problem.rows)
    first = task % tasks * problem.rows
    return task // tasks, first, min(first + problem.rows, problem.height)


@jit
def _pixel(plane: int, y: int, x: int, problem: Any) -> int:
    """Return where a pixel is in maps of pixels."""
    return (plane * problem.height + y) * problem.width + x


@jit
def _spread(
    memory: Any, tap_places: Any, points: Any, image: int, y: int, left: int, newest: int, rows: Any, columns: Any,
    problem: Any,
) -> int:  # fmt: skip
    """Spread the coarse rows that a row of pixels sees and that are not in the ring; return the newest in it.

    And write where the taps begin.
    """
    side, size = problem.taps, problem.both * SPAN
    lowest, highest = _seen_rows(rows, y, problem)
    for row in range(max(newest + 1, lowest), highest + 1):
        for j in range(side):
            to, x = (row % side * side + j) * size, _column(j, left, problem)
            for channel in range(problem.both):
                start = ((image * problem.both + channel) * problem.points_height + row) * problem.points_width
                gather(memory, to + channel * SPAN, points, start, columns, x, SPAN)
    for i in range(side):
        for j in range(side):
            tap_places[i * side + j] = (rows[i * problem.height + y] % side * side + j) * size
    return max(newest, highest)


@jit
def _column(tap: int, x: int, problem: Any) -> int:
    """Return where a tap of a column is in the tables."""
    return tap * -(-problem.width // SPAN) * SPAN + x


@jit
def _seen_rows(rows: Any, y: int, problem: Any) -> Any:
    """Return the first and the last coarse row that a row of pixels sees."""
    lowest = highest = rows[y]
    for i in range(1, problem.taps):
        row = rows[i * problem.height + y]
        lowest, highest = min(lowest, row), max(highest, row)
    return lowest, highest


@jit
def _write_distances(
    memory: Any, distances: int, own: int, tap_places: Any, embedding: Any, image: int, y: int, left: int, problem: Any
) -> None:
    """Copy the embeddings of a row of pixels, and write their distances to what they see at all taps."""
    dim, taps, n = problem.both - problem.channels, problem.taps**2, min(SPAN, problem.width - left)
    for channel in range(dim):
        copy(memory, own + channel * SPAN, embedding, _pixel(image * dim + channel, y, left, problem), n)
    clear(memory, distances, taps * SPAN)
    for channel in range(0, dim, 4):
        here, count = own + channel * SPAN, min(4, dim - channel)
        for k in range(taps):
            seen = tap_places[k] + (problem.channels + channel) * SPAN
            add_differences(memory, distances + k * SPAN, memory, here, SPAN, memory, seen, SPAN, SPAN, count, False)


@jit
def _write_masks(
    memory: Any, distances: int, masks: int, least: int, row_weights: Any, y: int, column_weights: Any, left: int,
    problem: Any,
) -> None:  # fmt: skip
    """Write the tents times the masks of all taps, over their sum; `least` is for two lines."""
    side, total = problem.taps, least + SPAN
    copy(memory, least, memory, distances, SPAN)
    for k in range(1, side**2):
        _lower(memory, least, distances + k * SPAN)
    clear(memory, total, SPAN)
    for k in range(side**2):
        weight, column = row_weights[k // side * problem.height + y], _column(k % side, left, problem)
        _write_mask(
            memory, distances + k * SPAN, masks + k * SPAN, least, total, weight, column_weights, column, problem
        )
    for k in range(side**2):
        _divide(memory, masks + k * SPAN, total)


@jit
def _lower(memory: Any, least: int, distances: int) -> None:
    p, q = np.uint64(least), np.uint64(distances)
    for x in range(np.uint64(SPAN)):
        memory[p + x] = memory[p + x] if memory[p + x] < memory[q + x] else memory[q + x]


@jit
def _write_mask(
    memory: Any, distances: int, masks: int, least: int, total: int, weight: Any, column_weights: Any, column: int,
    problem: Any,
) -> None:  # fmt: skip
    d, m, low, sums, c = np.uint64(distances), np.uint64(masks), np.uint64(least), np.uint64(total), np.uint64(column)
    hardness, zero = memory.dtype.type(problem.hardness), memory.dtype.type(0)
    for x in range(np.uint64(SPAN)):
        below = memory[low + x] - memory[d + x]
        mask = weight * column_weights[c + x] * decay(hardness * below if hardness != zero else zero)
        memory[m + x] = mask
        memory[sums + x] += mask


@jit
def _divide(memory: Any, masks: int, total: int) -> None:
    p, q = np.uint64(masks), np.uint64(total)
    for x in range(np.uint64(SPAN)):
        memory[p + x] /= memory[q + x]


def backward(
    gradient: Tensor, input: Tensor, embedding: Tensor, coarse_embedding: Tensor, hardness: Tensor, rows: Tensor,
    columns: Tensor, output: Tensor, radius: int, needed: list[bool],
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the gradients of input, both embeddings and hardness, empty tensors for those that are not needed."""
    gradient, embedding, output = to_contiguous(gradient), to_contiguous(embedding), to_contiguous(output)
    call = _Call(input, embedding, coarse_embedding, hardness, rows, columns, radius, rings=2)
    first = torch.arange(0, len(rows), call.problem.rows)
    lows = call.rows.points[:, first].amin(0).tolist()
    last = (first + call.problem.rows - 1).clamp(max=len(rows) - 1)
    highs = (call.rows.points[:, last].amax(0) + 1).tolist()
    part_rows = max(high - low for low, high in zip(lows, highs, strict=True))

    parts = input.new_empty(call.tasks, call.problem.both, part_rows, input.shape[3])
    hardness_parts = torch.zeros(call.tasks, dtype=torch.float64)
    embedding_gradient = embedding.new_empty(embedding.shape if needed[1] or needed[2] else 0)
    wanted = needed[0], any(needed[1:]), needed[1] or needed[2]
    arguments = flat(gradient), flat(call.points), flat(embedding), flat(output)
    results = flat(embedding_gradient), flat(parts), flat(hardness_parts)
    _backward(call.threads, call.tasks, (*arguments, *results, np.array(lows), part_rows, wanted, *call.common))

    summed = torch.zeros_like(call.points)
    for task, part in enumerate(parts):
        image, strip = divmod(task, len(lows))
        low, high = lows[strip], highs[strip]
        summed[image, :, low:high] += part[:, : high - low]
    input_gradient, coarse_gradient = (t.contiguous() for t in summed.split([input.shape[1], embedding.shape[1]], 1))
    gradients = input_gradient, embedding_gradient, coarse_gradient, hardness_parts.sum().to(hardness.dtype)
    return tuple(t if need else t.new_empty(0) for t, need in zip(gradients, needed, strict=True))


@kernel
def _backward(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_backward_rows, threads, tasks, arguments)


@jit
def _backward_rows(
    task: int, thread: int, gradient: Any, points: Any, embedding: Any, output: Any, embedding_gradient: Any,
    parts: Any, hardness_parts: Any, lows: Any, part_rows: int, wanted: Any, rows: Any, row_weights: Any, columns: Any,
    column_weights: Any, scratch: Any, places: Any, problem: Any,
) -> None:  # fmt: skip
    """Write the gradient of the embeddings of a few rows, and parts of those of the points and of the hardness.

    Where M is a mask over the sum of all, with the tents, the gradient of hardness * d is
    G = M (sum_c g_c u_c - sum_c g_c v_c).
    """
    memory, tap_places, taps = scratch[thread], places[thread], problem.taps**2
    values_wanted, masks_wanted, embeddings_wanted = wanted
    image, first, last = _task_rows(task, problem)
    ring = problem.both * taps * SPAN
    own = 2 * ring
    distances = own + (problem.both - problem.channels) * SPAN
    masks, factors, lines = distances + taps * SPAN, distances + 2 * taps * SPAN, distances + 3 * taps * SPAN
    mean, shares = lines + ROWS * SPAN, lines + (ROWS + 1) * SPAN
    part = task * problem.both, lows[first // problem.rows], part_rows
    size = problem.both * part_rows * problem.points_width
    clear(parts, task * size, size)
    for left in range(0, problem.width, SPAN):
        n, newest, oldest = min(SPAN, problem.width - left), -1, _seen_rows(rows, first, problem)[0]
        clear(memory, ring, ring)
        clear(memory, shares, SPAN)
        for y in range(first, last):
            lowest = _seen_rows(rows, y, problem)[0]
            for row in range(oldest, min(lowest, newest + 1)):
                _give_back(parts, part, memory, ring, row, left, columns, problem)
            oldest = lowest
            newest = _spread(memory, tap_places, points, image, y, left, newest, rows, columns, problem)
            _write_distances(memory, distances, own, tap_places, embedding, image, y, left, problem)
            _write_masks(memory, distances, masks, lines, row_weights, y, column_weights, left, problem)
            clear(memory, factors, taps * SPAN)
            clear(memory, mean, SPAN)
            for channel in range(0, problem.channels, ROWS):
                count = min(ROWS, problem.channels - channel)
                for c in range(count):
                    pixel = _pixel(image * problem.channels + channel + c, y, left, problem)
                    copy(memory, lines + c * SPAN, gradient, pixel, n)
                    add_product(memory, mean, gradient, pixel, output, pixel, n)
                if values_wanted:
                    for k in range(taps):
                        for c in range(count):
                            place = ring + tap_places[k] + (channel + c) * SPAN
                            add_product(memory, place, memory, masks + k * SPAN, memory, lines + c * SPAN, SPAN)
                if masks_wanted:
                    for k in range(0, taps, ROWS):
                        add_products(
                            memory, factors + k * SPAN, SPAN, lines, SPAN, channel * SPAN, tap_places, k, taps,
                            min(ROWS, taps - k), count, SPAN,
                        )  # fmt: skip
            if masks_wanted:
                for k in range(0, taps * SPAN, SPAN):
                    _finish_factors(memory, factors + k, masks + k, distances + k, mean, shares, problem)
            if embeddings_wanted:
                _subtract_signs(memory, ring, factors, tap_places, own, distances, problem)
                for channel in range(problem.both - problem.channels):
                    place = _pixel(image * (problem.both - problem.channels) + channel, y, left, problem)
                    copy(embedding_gradient, place, memory, own + channel * SPAN, n)
        for row in range(oldest, newest + 1):
            _give_back(parts, part, memory, ring, row, left, columns, problem)
        for x in range(n):
            hardness_parts[task] += memory[shares + x]


@jit
def _finish_factors(
    memory: Any, factors: int, masks: int, distances: int, mean: int, shares: int, problem: Any
) -> None:
    """Make of sum_c g_c v_c of one tap the gradient of its distance, and add what it gives to that of the hardness."""
    f, m, d, u, s = np.uint64(factors), np.uint64(masks), np.uint64(distances), np.uint64(mean), np.uint64(shares)
    hardness, zero = memory.dtype.type(problem.hardness), memory.dtype.type(0)
    for x in range(np.uint64(SPAN)):
        factor = memory[m + x] * (memory[u + x] - memory[f + x])
        memory[s + x] += factor * (memory[d + x] if memory[d + x] < np.inf else zero)
        memory[f + x] = hardness * factor


@jit
def _subtract_signs(memory: Any, ring: int, factors: int, tap_places: Any, own: int, sums: int, problem: Any) -> None:
    """Write the gradient of the embeddings of pixels over these, and add its opposite to that of points."""
    for channel in range(problem.both - problem.channels):
        clear(memory, sums, SPAN)
        here = own + channel * SPAN
        for k in range(problem.taps**2):
            seen = tap_places[k] + (problem.channels + channel) * SPAN
            _subtract_sign(memory, ring + seen, sums, factors + k * SPAN, here, seen)
        copy(memory, here, memory, sums, SPAN)


@jit
def _subtract_sign(memory: Any, opposite: int, sums: int, factors: int, here: int, seen: int) -> None:
    o, s, f, p, q = np.uint64(opposite), np.uint64(sums), np.uint64(factors), np.uint64(here), np.uint64(seen)
    zero = memory.dtype.type(0)
    for x in range(np.uint64(SPAN)):
        factor, a, b = memory[f + x], memory[p + x], memory[q + x]
        step = (factor if a > b else zero) - (factor if a < b else zero)
        memory[s + x] += step
        memory[o + x] -= step


@jit
def _give_back(parts: Any, part: Any, memory: Any, ring: int, row: int, left: int, columns: Any, problem: Any) -> None:
    """Add the gradient of one spread row to that of its points, and clear it."""
    plane, low, part_rows = part
    for j in range(problem.taps):
        place = ring + (row % problem.taps * problem.taps + j) * problem.both * SPAN
        column, n = _column(j, left, problem), min(SPAN, problem.width - left)
        for channel in range(problem.both):
            to = ((plane + channel) * part_rows + row - low) * problem.points_width
            scatter(parts, to, columns, column, memory, place + channel * SPAN, n)
            clear(memory, place + channel * SPAN, SPAN)
