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
