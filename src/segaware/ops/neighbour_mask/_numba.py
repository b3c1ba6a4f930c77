"""The mask of a CRF on CPU, in place. A task is one row of an image: its scores stay in the L2 cache."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from segaware.ops._exp import decay
from segaware.ops._parallel import flat, jit, kernel, parallel_for, thread_count


def mask(distance: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Write the mask over its distances, see `library.neighbour_mask_`."""
    batch, _, height, width = distance.shape
    factor, threads = np.float32(-hardness.item()), thread_count()
    if factor == 0:  # times infinity shall be 0
        distance.zero_()
    tops, shape = np.empty((threads, width), np.float32), (len(rows), len(columns), height, width)
    _mask(threads, batch * height, (flat(distance), factor, flat(rows), flat(columns), tops, shape))


@kernel
def _mask(threads: int, tasks: int, arguments: Any) -> None:
    parallel_for(_mask_row, threads, tasks, arguments)


@jit
def _mask_row(task: int, thread: int, mask: Any, factor: Any, rows: Any, columns: Any, tops: Any, shape: Any) -> None:
    """Write scores over distances, and then the exponential of how much they are below the pixel's highest."""
    kernel_height, kernel_width, height, width = shape
    top, taps = tops[thread], kernel_height * kernel_width
    image, y = task // height, task % height
    top[:] = -np.inf
    for k in range(taps):
        if k != taps // 2:
            i, j = k // kernel_width, k % kernel_width
            place = ((image * taps + k) * height + y) * width
            _write_scores(mask, place, factor, rows[i * height + y], columns, j * width, top, width)
    for k in range(taps):
        place = ((image * taps + k) * height + y) * width
        if k != taps // 2:
            _write_exponentials(mask, place, top, width)
        else:
            mask[place : place + width] = 0


@jit
def _write_scores(
    mask: Any, place: int, factor: Any, row: Any, columns: Any, columns_place: int, top: Any, n: int
) -> None:
    p, q = np.uint64(place), np.uint64(columns_place)
    for x in range(np.uint64(n)):
        score = mask[p + x] * factor + (row + columns[q + x])
        mask[p + x] = score
        top[x] = top[x] if top[x] > score else score


@jit
def _write_exponentials(mask: Any, place: int, top: Any, n: int) -> None:
    p = np.uint64(place)
    for x in range(np.uint64(n)):
        mask[p + x] = decay(mask[p + x] - top[x])
