"""Loops over runs of elements of flat arrays, which LLVM makes vectors of.

Indices are unsigned, because signed ones might count from the end. Each has one way out: with a second `return`, Numba
counts references to the arrays, and threads wait for each other's counting.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from segaware.ops._parallel import jit


@jit
def clear(target: Any, start: int, count: int) -> None:
    """target[start + i] = 0 for i < count."""
    to = np.uint64(start)
    for i in range(np.uint64(count)):
        target[to + i] = 0


@jit
def copy(target: Any, target_start: int, source: Any, start: int, count: int) -> None:
    """target[target_start + i] = source[start + i] for i < count."""
    to, at = np.uint64(target_start), np.uint64(start)
    for i in range(np.uint64(count)):
        target[to + i] = source[at + i]


@jit
def accumulate(target: Any, target_start: int, source: Any, start: int, count: int) -> None:
    """target[target_start + i] += source[start + i] for i < count."""
    to, at = np.uint64(target_start), np.uint64(start)
    for i in range(np.uint64(count)):
        target[to + i] += source[at + i]


@jit
def add_product(target: Any, target_start: int, a: Any, a_start: int, b: Any, b_start: int, count: int) -> None:
    """target[target_start + i] += a[a_start + i] * b[b_start + i] for i < count."""
    to, p, q = np.uint64(target_start), np.uint64(a_start), np.uint64(b_start)
    for i in range(np.uint64(count)):
        target[to + i] += a[p + i] * b[q + i]


@jit
def add_differences(
    sums: Any, sums_start: int, a: Any, a_start: int, a_step: int, b: Any, b_start: int, b_step: int, count: int,
    channels: int, squared: bool,
) -> None:  # fmt: skip
    """Add |a - b| or its square, over 1 to 4 channels, `a_step` and `b_step` apart, to `count` sums."""
    s, p, q = np.uint64(sums_start), np.uint64(a_start), np.uint64(b_start)
    down, across = np.uint64(a_step), np.uint64(b_step)
    if channels == 4:  # a sum is loaded and stored once for all
        p1, q1 = p + down, q + across
        p2, q2 = p1 + down, q1 + across
        p3, q3 = p2 + down, q2 + across
        for i in range(np.uint64(count)):
            d0, d1 = a[p + i] - b[q + i], a[p1 + i] - b[q1 + i]
            d2, d3 = a[p2 + i] - b[q2 + i], a[p3 + i] - b[q3 + i]
            if squared:
                sums[s + i] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
            else:
                sums[s + i] += (abs(d0) + abs(d1)) + (abs(d2) + abs(d3))
    else:
        for channel in range(channels):
            p1, q1 = p + np.uint64(channel) * down, q + np.uint64(channel) * across
            for i in range(np.uint64(count)):
                d0 = a[p1 + i] - b[q1 + i]
                sums[s + i] += d0 * d0 if squared else abs(d0)


@jit
def gather(target: Any, target_start: int, source: Any, start: int, index: Any, index_start: int, count: int) -> None:
    """target[target_start + i] = source[start + index[index_start + i]] for i < count."""
    to, at, first = np.uint64(target_start), np.uint64(start), np.uint64(index_start)
    for i in range(np.uint64(count)):
        target[to + i] = source[at + np.uint64(index[first + i])]


@jit
def scatter(target: Any, target_start: int, index: Any, index_start: int, source: Any, start: int, count: int) -> None:
    """target[target_start + index[index_start + i]] += source[start + i] for i < count.

    What neighbours add to the same place is summed first, in a register.
    """
    last, total = index[index_start], source.dtype.type(0)
    for i in range(count):
        place = index[index_start + i]
        if place != last:
            target[target_start + last] += total
            last, total = place, source.dtype.type(0)
        total += source[start + i]
    target[target_start + last] += total
