"""The mean field of a fully connected CRF: slicing messages, adding them to the scores, and softmax, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segaware.ops._exp import exp
from segaware.ops._loops import accumulate, clear, copy
from segaware.ops._parallel import flat, jit, kernel, parallel_for
from segaware.ops.permutohedral._numba.filtering import BLOCK, Rows, blur_points, clear_copies, slice_block, splat_block
from segaware.ops.permutohedral._numba.lattice import build


def mean_field(
    log_probabilities: Tensor, features: Sequence[Tensor], weights: Sequence[float], iterations: int
) -> Tensor:
    """Return the marginals (C, N), float32."""
    # The largest first: behind what the lattice leaves free it would find no place, and the heap would grow.
    output = torch.empty(log_probabilities.shape)
    lattice = build(features, weights, symmetric=True)
    rows, strips = Rows.of(lattice, len(log_probabilities)), len(lattice.strips.starts) - 1
    scores = flat(log_probabilities)
    for iteration in range(iterations + 1):
        last = iteration == iterations
        _update(len(rows.blocks), strips, (lattice.strips, scores, rows, iteration > 0, last, flat(output)))
        if not last:
            blur_points(lattice, rows)
    return output


@kernel
def _update(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_update_strip, threads, tasks, arguments)


@jit
def _update_strip(
    task: int, thread: int, strips: Any, scores: Any, rows: Any, messages: bool, last: bool, output: Any
) -> None:
    """Compute the softmax of scores and messages, if there are any, and splat it, or at last write it."""
    block, pixels = rows.blocks[thread], strips.corners.shape[0]
    classes, end = scores.size // pixels, min(task * strips.pixels + strips.pixels, pixels)
    # Unless it is the result: from e^-46, 1e-20, on a probability is as good as 0, and what it is multiplied with keeps
    # clear of subnormal numbers, which are slow.
    least = np.float32(-87 if last else -46)
    if not last:
        clear_copies(strips, task, rows)
    for first in range(task * strips.pixels, end, BLOCK):
        count = min(BLOCK, end - first)
        if messages:
            slice_block(strips, task, first, count, block, rows)
        else:
            clear(block, 0, BLOCK * rows.size)
        for c in range(classes):
            accumulate(block, c * BLOCK, scores, c * pixels + first, count)
        _normalize(block, classes, BLOCK * rows.size, count, least)
        if last:
            for c in range(classes):
                copy(output, c * pixels + first, block, c * BLOCK, count)
        else:
            splat_block(strips, task, first, count, block, rows)


@jit
def _normalize(block: Any, classes: int, start: int, count: int, least: Any) -> None:
    """Replace scores by their softmax; from `start` on there is room for the largest score, and for the sum."""
    top, total = np.uint64(start), np.uint64(start + BLOCK)
    for i in range(np.uint64(count)):
        block[top + i] = block[i]
        block[total + i] = 0
    for c in range(1, classes):
        at = np.uint64(c * BLOCK)
        for i in range(np.uint64(count)):
            block[top + i] = max(block[top + i], block[at + i])
    for c in range(classes):
        at = np.uint64(c * BLOCK)
        for i in range(np.uint64(count)):
            value = exp(max(block[at + i] - block[top + i], least))
            block[at + i] = value
            block[total + i] += value
    for i in range(np.uint64(count)):
        block[total + i] = np.float32(1) / block[total + i]
    for c in range(classes):
        at = np.uint64(c * BLOCK)
        for i in range(np.uint64(count)):
            block[at + i] *= block[total + i]
