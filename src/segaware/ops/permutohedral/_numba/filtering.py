"""Filtering on the lattice: splat pixels onto its points, blur along its directions, slice pixels out again.

Channels lie side by side, in rows of whole vectors: a row per copy of a lattice point, or per point. Pixels are dealt
with in blocks. In a block a channel is a run of BLOCK elements, followed by the next channel. Behind them is as much
room again, for the same with channels side by side.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segaware.ops._loops import clear, copy
from segaware.ops._parallel import flat, jit, kernel, parallel_for, thread_count
from segaware.ops.permutohedral._numba.lattice import Lattice, blur
from segaware.ops.permutohedral._numba.rows import LANES, gather_row, scatter_row, transpose

BLOCK = 256  # pixels
_POINTS = 1024  # of a task


class Rows(NamedTuple):
    """The memory of one call."""

    size: int  # of a row
    copies: np.ndarray
    points: np.ndarray
    blocks: np.ndarray  # of every thread

    @classmethod
    def of(cls, lattice: Lattice, channels: int) -> Rows:
        """Allocate it."""
        size = -(-channels // LANES) * LANES
        copies, points = len(lattice.strips.points), len(lattice.points.starts) - 1
        shapes = copies * size, points * size, (thread_count(), 2 * BLOCK * size)
        return cls(size, *(np.empty(shape, np.float32) for shape in shapes))


def filter(lattice: Lattice, values: Tensor) -> Tensor:
    """Filter values (C, N), float32."""
    rows, output, strips = Rows.of(lattice, len(values)), torch.empty(values.shape), len(lattice.strips.starts) - 1
    _read(len(rows.blocks), strips, (lattice.strips, flat(values), rows))
    blur_points(lattice, rows)
    _write(len(rows.blocks), strips, (lattice.strips, flat(output), rows))
    return output


def blur_points(lattice: Lattice, rows: Rows) -> None:
    """Sum up the copies of every point, and blur the points."""
    threads, tasks = len(rows.blocks), -(-(len(lattice.points.starts) - 1) // _POINTS)
    _sum_copies(threads, tasks, (lattice.points, lattice.strips.points, rows))
    for chains in lattice.chains:
        blur(threads, rows.points, rows.size, chains)


@kernel
def _sum_copies(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_sum_copies_of_points, threads, tasks, arguments)


@jit
def _sum_copies_of_points(task: int, thread: int, points: Any, of_copies: Any, rows: Any) -> None:
    starts, copies, factors = points
    size, source, target = rows.size, rows.copies, rows.points
    first, last = task * _POINTS, min(task * _POINTS + _POINTS, starts.size - 1)
    clear(target, first * size, (last - first) * size)
    for i in range(starts[first], starts[last]):
        scatter_row(target, size, 0, of_copies, factors, copies[i], 1, source, copies[i] * size)


@jit
def splat_block(strips: Any, strip: int, first: int, count: int, block: Any, rows: Any) -> None:
    """Add the pixels of a block to the copies of their strip."""
    corners, weights, size, copies = strips.corners, strips.weights, rows.size, rows.copies
    start, number, room = strips.starts[strip], corners.shape[1], BLOCK * size
    for channel in range(0, size, LANES):
        for pixel in range(0, BLOCK, LANES):
            transpose(block, room + pixel * size + channel, size, block, channel * BLOCK + pixel, BLOCK)
    for pixel in range(count):
        place = (first + pixel) * number
        scatter_row(copies, size, start, corners, weights, place, number, block, room + pixel * size)


@jit
def slice_block(strips: Any, strip: int, first: int, count: int, block: Any, rows: Any) -> None:
    """Read the pixels of a block from the points."""
    corners, weights, of_copies, size, points = strips.corners, strips.weights, strips.points, rows.size, rows.points
    start, number, room = strips.starts[strip], corners.shape[1], BLOCK * size
    for pixel in range(count):
        place = (first + pixel) * number
        gather_row(block, room + pixel * size, points, size, of_copies, start, corners, weights, place, number)
    for channel in range(0, size, LANES):
        for pixel in range(0, BLOCK, LANES):
            transpose(block, channel * BLOCK + pixel, BLOCK, block, room + pixel * size + channel, size)


@jit
def clear_copies(strips: Any, strip: int, rows: Any) -> None:
    """Begin to splat a strip."""
    start, end = strips.starts[strip], strips.starts[strip + 1]
    clear(rows.copies, start * rows.size, (end - start) * rows.size)


@kernel
def _read(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_read_strip, threads, tasks, arguments)


@jit
def _read_strip(task: int, thread: int, strips: Any, values: Any, rows: Any) -> None:
    block, pixels = rows.blocks[thread], strips.corners.shape[0]
    last = min(task * strips.pixels + strips.pixels, pixels)
    clear_copies(strips, task, rows)
    for first in range(task * strips.pixels, last, BLOCK):
        count = min(BLOCK, last - first)
        for channel in range(values.size // pixels):
            copy(block, channel * BLOCK, values, channel * pixels + first, count)
        splat_block(strips, task, first, count, block, rows)


@kernel
def _write(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_write_strip, threads, tasks, arguments)


@jit
def _write_strip(task: int, thread: int, strips: Any, values: Any, rows: Any) -> None:
    block, pixels = rows.blocks[thread], strips.corners.shape[0]
    last = min(task * strips.pixels + strips.pixels, pixels)
    for first in range(task * strips.pixels, last, BLOCK):
        count = min(BLOCK, last - first)
        slice_block(strips, task, first, count, block, rows)
        for channel in range(values.size // pixels):
            copy(values, channel * pixels + first, block, channel * BLOCK, count)
