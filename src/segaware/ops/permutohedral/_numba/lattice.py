"""The permutohedral lattice of an image: which of its points are near which pixel, and which are in line.

The lattice of D dimensions lies in the plane of D + 1 dimensions where coordinates sum to 0. Its points are the integer
vectors whose coordinates have the same remainder modulo D + 1, and they divide the plane into simplices. A pixel has
to do with the D + 1 corners of the simplex that its features fall into; its barycentric coordinates are its weights.
Only points that are a corner of some pixel exist (Adams, Baek & Davis 2010, "Fast High-Dimensional Filtering Using the
Permutohedral Lattice").

An image is divided into strips of pixels. A strip has its own copy of every point near its pixels, and pixels deal with
copies only. So strips can be worked on at the same time, each in a small part of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from segaware.ops._parallel import jit, kernel, parallel_for, thread_count
from segaware.ops.permutohedral._numba.elevation import elevate
from segaware.ops.permutohedral._numba.rows import LANES, blur_chain

_STRIP = 8192  # pixels, at most
_CHAINS = 4096  # of a task: shorter work is not worth a second thread


class Strips(NamedTuple):
    """What pixels have to do with copies. S is D + 1, or for a sum of filters the sum of their D + 1."""

    pixels: int  # of a strip
    corners: np.ndarray  # (N, S) numbers of copies, from 0 on in every strip
    weights: np.ndarray  # (N, S)
    starts: np.ndarray  # where the copies of a strip begin; at last, their number
    points: np.ndarray  # the point of every copy


class Points(NamedTuple):
    """What points have to do with copies."""

    starts: np.ndarray  # where the copies of a point begin in `copies`; at last, their number
    copies: np.ndarray  # in the order of points
    factors: np.ndarray  # of every copy


class Chains(NamedTuple):
    """The points of one filter that have neighbours, for each direction in an order so that those in line follow."""

    points: np.ndarray  # for one direction after the other
    starts: np.ndarray  # where chains begin in `points`; at last, its size
    directions: np.ndarray  # where directions begin in `starts`; at last, the place of its last element


class Lattice(NamedTuple):
    """All of them, for a sum of filters."""

    strips: Strips
    points: Points
    chains: list[Chains]


def build(features: Sequence[Tensor], factors: Sequence[float], symmetric: bool) -> Lattice:
    """Build the lattice for a sum of filters, each times its factor.

    Args:
        features: Of every filter, (D, N), float32 or float64.
        factors: One per filter.
        symmetric: Whether every filter is normalised, K_ij / sqrt(sum_k K_ik * sum_k K_jk).

    Raises:
        ValueError: If features are not finite, or span more lattice points than can be told apart or numbered.
    """
    columns = np.cumsum([0, *(len(feature) + 1 for feature in features)])
    pixels, size = features[0].shape[1], int(columns[-1])
    corners, weights = np.empty((pixels, size), np.uint16), np.empty((pixels, size), np.float32)
    strip = min(_STRIP, 2**16 // size)  # so that 16 bits are enough for corners
    copies = np.zeros((len(features) + 1, -(-pixels // strip)), np.int64)  # of each strip, up to each filter
    points_of, chains, counts = [], [], [0]
    for i, feature in enumerate(features):
        copies[i + 1] = copies[i]
        codes, strides = _codes_of_strips(feature, corners, weights, columns[i], strip, copies[i + 1])
        new = copies[i + 1] - copies[i]
        numbers = np.empty((len(codes), 1), np.int32)
        table, numbers_in_table, points = _number(codes[:, None], numbers)
        points_of.append(np.split(numbers[:, 0] + np.int32(counts[-1]), np.cumsum(new)[:-1]))
        chains.append(_find_chains(table, numbers_in_table, points, strides, counts[-1]))
        counts.append(counts[-1] + len(points))
    points = np.concatenate([part for of_strip in zip(*points_of, strict=True) for part in of_strip])
    strips = Strips(strip, corners, weights, np.array([0, *np.cumsum(copies[-1])]), points)
    # What blurring every direction with (1/2, 1, 1/2) makes too much.
    scales = 1 / (1 + 2.0 ** (1 - np.diff(columns)))
    if symmetric:
        _normalize_symmetrically(strips, columns, scales, chains, counts[-1])
    factor_of_points = np.repeat(scales * factors, np.diff(counts)).astype(np.float32)
    starts, copies_by_point = _by_point(points, counts[-1])
    return Lattice(strips, Points(starts, copies_by_point, factor_of_points[points]), chains)


def _codes_of_strips(
    feature: Tensor, corners: np.ndarray, weights: np.ndarray, column: int, strip: int, copies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find corners, and return the codes of the copies of all strips, and the factors that make codes.

    In a function of its own, so that its memory is free before that of the next filter, or of rows, is needed.
    """
    elevated, before = elevate(feature.numpy(force=True)), copies.copy()
    strides, start = _numbering(elevated)
    codes = np.empty(elevated.size, np.uint64)
    _find_corners(
        thread_count(), len(copies), (elevated, strides, start, corners, weights, column, strip, codes, copies)
    )
    new = [codes[j * strip * len(strides) :][:count] for j, count in enumerate(copies - before)]
    return np.concatenate(new), strides


def _numbering(elevated: np.ndarray) -> tuple[np.ndarray, np.uint64]:
    """Return factors and a start by which coordinates of a lattice point add up to a number, its code.

    No other point has the same code, and none has 0.
    """
    strides, start = [1], 1
    for coordinate in elevated[:-1]:
        # Corners and their neighbours are less than three times D + 1 away from a pixel.
        low = math.floor(coordinate.min()) - 3 * len(elevated)
        high = math.ceil(coordinate.max()) + 3 * len(elevated)
        start -= low * strides[-1]
        strides.append(strides[-1] * (high - low + 1))
    if strides[-1] >= 2**63:
        raise ValueError(f"features span {strides[-1]:.1g} lattice points, too many: divide them by larger bandwidths")
    strides[-1] = 0  # the last coordinate follows from the others
    return np.array(strides, np.uint64), np.uint64(start % 2**64)


@kernel
def _find_corners(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_find_corners_of_strip, threads, tasks, arguments)


@jit
def _find_corners_of_strip(
    task: int, thread: int, elevated: Any, strides: Any, start: Any, corners: Any, weights: Any, column: int,
    pixels: int, codes: Any, copies: Any,
) -> None:  # fmt: skip
    """Write the corners of the pixels of a strip, and their weights; number copies, and write their codes."""
    first, last, size = task * pixels, min(task * pixels + pixels, elevated.shape[1]), strides.size
    codes_of_pixels = np.empty((last - first, size), np.uint64)
    _find_simplices(elevated, strides, start, first, last, codes_of_pixels, weights, column)
    numbers = np.empty(codes_of_pixels.shape, np.int32)
    _, _, found = _number(codes_of_pixels, numbers)
    for pixel in range(first, last):
        for k in range(size):
            corners[pixel, column + k] = copies[task] + numbers[pixel - first, k]
    for i in range(found.size):
        codes[first * size + i] = found[i]
    copies[task] += found.size


@jit
def _find_simplices(
    elevated: Any, strides: Any, start: Any, first: int, last: int, codes: Any, weights: Any, column: int
) -> None:
    """Write codes and weights of the corners of pixels.

    Corner k has remainder k. Corner 0 is the nearest such point, and from one corner to the next all coordinates
    go up by 1, but one goes down by D: that with the smallest residue to corner 0 which has not yet done so.
    """
    size = strides.size
    inverse, up = elevated.dtype.type(1 / size), _sum(strides)
    corner, rank, order = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    residue = np.empty(size, np.float32)
    for pixel in range(first, last):
        excess = 0
        for i in range(size):
            nearest = int(np.rint(elevated[i, pixel] * inverse))
            excess += nearest
            corner[i] = nearest * size
            residue[i] = elevated[i, pixel] - elevated.dtype.type(corner[i])
            rank[i] = 0
        for i in range(size):
            for j in range(i + 1, size):
                smaller = int(residue[i] < residue[j])
                rank[i] += smaller
                rank[j] += 1 - smaller
        code = start
        for i in range(size):
            # So that coordinates sum to 0: some of those rounded up the most go down, or the other way round.
            place = rank[i] + excess
            shift = size * (int(place < 0) - int(place >= size))
            order[place + shift] = i
            residue[i] -= np.float32(shift)
            code += np.uint64(corner[i] + shift) * strides[i]
        codes[pixel - first, 0] = code
        weights[pixel, column] = np.float32(1) + (residue[order[size - 1]] - residue[order[0]]) * inverse
        for k in range(1, size):
            down = order[size - k]
            code += up - np.uint64(size) * strides[down]
            codes[pixel - first, k] = code
            weights[pixel, column + k] = (residue[order[size - 1 - k]] - residue[down]) * inverse


@jit
def _sum(numbers: Any) -> Any:
    total = np.uint64(0)
    for number in numbers:
        total += number
    return total


@kernel
def _number(codes: Any, numbers: Any) -> Any:
    """Number codes from 0 on, equal ones equally, and return a hash table, in two parts, and the code of every number.

    The first part holds codes, 0 where it is free, and the second their numbers.
    """
    row, count, room, known = 0, 0, 1 << 12, np.empty(0, np.uint64)
    while True:
        table, numbers_in_table, more = (
            np.zeros(2 * room, np.uint64),
            np.empty(2 * room, np.int32),
            np.empty(room, np.uint64),
        )
        for number in range(count):
            slot = _slot(known[number], table)
            table[slot], numbers_in_table[slot], more[number] = known[number], number, known[number]
        row, count = _number_rows(codes, row, numbers, table, numbers_in_table, more, count)
        known = more[:count].copy()
        if row == codes.shape[0]:
            return table, numbers_in_table, known
        room *= 2


@jit
def _number_rows(codes: Any, row: int, numbers: Any, table: Any, numbers_in_table: Any, known: Any, count: int) -> Any:
    """Number one row of codes after the other, as long as there is room for new ones."""
    size = codes.shape[1]
    while row < codes.shape[0] and count + size <= known.size:
        for k in range(size):
            code = codes[row, k]
            slot = _slot(code, table)
            if table[slot] == 0:
                table[slot], numbers_in_table[slot], known[count] = code, count, code
                count += 1
            numbers[row, k] = numbers_in_table[slot]
        row += 1
    return row, count


@jit
def _slot(code: Any, table: Any) -> Any:
    """Return where in the hash table this code is, or is to be."""
    slot = (code * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    slot = (slot * np.uint64(table.size)) >> np.uint64(32)  # the highest bits
    while table[slot] != code and table[slot] != 0:
        slot = (slot + np.uint64(1)) & np.uint64(table.size - 1)
    return slot


def _find_chains(table: np.ndarray, numbers: np.ndarray, points: np.ndarray, strides: np.ndarray, first: int) -> Chains:
    """Put points in line; they are numbered from `first` on."""
    size, count = len(strides), len(points)
    order, starts, sizes = (
        np.empty((size, count), np.int32),
        np.empty((size, count), np.int32),
        np.empty((size, 2), int),
    )
    arguments = table, numbers, points, strides, first, order, starts, sizes
    _find_chains_in_parallel(min(thread_count(), size), size, arguments)
    ends = np.cumsum(sizes, axis=0)
    of_directions = [starts[i, : sizes[i, 1]] + (ends[i, 0] - sizes[i, 0]) for i in range(size)]
    return Chains(
        np.concatenate([order[i, : sizes[i, 0]] for i in range(size)]),
        np.concatenate([*of_directions, ends[-1:, 0]]),
        np.append(0, ends[:, 1]),
    )


@kernel
def _find_chains_in_parallel(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_find_chains_along, threads, tasks, arguments)


@jit
def _find_chains_along(
    task: int, thread: int, table: Any, numbers: Any, points: Any, strides: Any, first: int, order: Any, starts: Any,
    sizes: Any,
) -> None:  # fmt: skip
    """Follow the points along one direction: its coordinate goes up by D, and the others down by 1."""
    step = np.uint64(strides.size) * strides[task] - _sum(strides)
    after, begins = np.empty(points.size, np.int32), np.ones(points.size, np.bool_)
    for point in range(points.size):
        slot = _slot(points[point] + step, table)
        after[point] = -1
        if table[slot] != 0:
            after[point] = numbers[slot]
            begins[numbers[slot]] = False
    place = chains = 0
    for start in range(points.size):
        if begins[start] and after[start] >= 0:
            starts[task, chains] = place
            chains += 1
            point = start
            while point >= 0:
                order[task, place] = first + point
                place += 1
                point = after[point]
    sizes[task, 0], sizes[task, 1] = place, chains


@kernel
def blur(threads: int, rows: Any, size: int, chains: Any) -> None:
    """Add to every point's row half of its neighbours', along one direction after the other."""
    for direction in range(chains.directions.size - 1):
        first, last = chains.directions[direction], chains.directions[direction + 1]
        tasks = (last - first + _CHAINS - 1) // _CHAINS
        parallel_for(_blur_chains, min(threads, tasks), tasks, (rows, size, chains.points, chains.starts, first, last))


@jit
def _blur_chains(task: int, thread: int, rows: Any, size: int, points: Any, starts: Any, first: int, last: int) -> None:
    for chain in range(first + task * _CHAINS, min(first + task * _CHAINS + _CHAINS, last)):
        blur_chain(rows, size, points, starts[chain], starts[chain + 1])


def _normalize_symmetrically(
    strips: Strips, columns: np.ndarray, scales: np.ndarray, chains: list[Chains], points: int
) -> None:
    """Divide the weights of every pixel by the root of what each filter makes of a constant 1."""
    rows = np.zeros(points * LANES, np.float32)
    _splat_ones(strips, rows)
    for of_filter in chains:
        blur(thread_count(), rows, LANES, of_filter)
    _divide_by_roots(thread_count(), len(strips.starts) - 1, (strips, columns, scales, rows))


@kernel
def _splat_ones(strips: Any, rows: Any) -> None:
    corners, weights, points = strips.corners, strips.weights, strips.points
    for strip in range(strips.starts.size - 1):
        first = strips.starts[strip]
        for pixel in range(strip * strips.pixels, min(strip * strips.pixels + strips.pixels, corners.shape[0])):
            for k in range(corners.shape[1]):
                rows[points[first + corners[pixel, k]] * LANES] += weights[pixel, k]


@kernel
def _divide_by_roots(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_divide_strip_by_roots, threads, tasks, arguments)


@jit
def _divide_strip_by_roots(task: int, thread: int, strips: Any, columns: Any, scales: Any, rows: Any) -> None:
    corners, weights, points, first = strips.corners, strips.weights, strips.points, strips.starts[task]
    for pixel in range(task * strips.pixels, min(task * strips.pixels + strips.pixels, corners.shape[0])):
        for i in range(scales.size):
            total = 0.0
            for k in range(columns[i], columns[i + 1]):
                total += weights[pixel, k] * rows[points[first + corners[pixel, k]] * LANES]
            root = np.float32(np.sqrt(total * scales[i]))
            for k in range(columns[i], columns[i + 1]):
                weights[pixel, k] /= root


@kernel
def _by_point(points: Any, count: int) -> Any:
    """Return where the copies of every point begin, and the copies, in their order."""
    starts, copies = np.zeros(count + 1, np.int32), np.empty(points.size, np.int32)
    for point in points:
        starts[point + 1] += 1
    for point in range(count):
        starts[point + 1] += starts[point]
    places = starts[:-1].copy()
    for copy in range(points.size):
        copies[places[points[copy]]] = copy
        places[points[copy]] += 1
    return starts, copies
