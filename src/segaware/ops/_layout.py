"""Copies between channels-last and contiguous images, several times faster than torch's own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segaware.ops._parallel import flat, jit, kernel, parallel_for, thread_count
from segaware.ops._tile import transpose, vector_lanes
from segaware.ops.arguments import is_channels_last

_BLOCK = 512


def row_starts(like: Tensor, step: int) -> np.ndarray:
    """Return where the rows of a square block begin, one vector wide, in a matrix whose rows are `step` apart."""
    return np.arange(vector_lanes(like.element_size())) * step


@jit
def transpose_block(source, source_start, source_rows, target, target_start, target_rows, rows, columns):
    """Write the transposed of a rows x columns block of a matrix; `row_starts` are those of both matrices."""
    lanes, source_step, target_step = source_rows.size, source_rows[1], target_rows[1]
    whole_rows, whole_columns = rows // lanes * lanes, columns // lanes * lanes
    for c in range(0, whole_columns, lanes):
        for r in range(0, whole_rows, lanes):
            start = source_start + r * source_step + c
            transpose(target, target_start + c * target_step + r, target_rows, source, start, source_rows)
    for r in range(rows):
        for c in range(0 if r >= whole_rows else whole_columns, columns):
            target[target_start + c * target_step + r] = source[source_start + r * source_step + c]


@jit
def _transpose_task(task, thread, source, target, rows, columns, source_rows, target_rows, block):
    down, across = (rows + block - 1) // block, (columns + block - 1) // block
    matrix, rest = task // (down * across), task % (down * across)
    row, column = rest // across * block, rest % across * block
    start = matrix * rows * columns
    transpose_block(
        source, start + row * columns + column, source_rows, target, start + column * rows + row, target_rows,
        min(block, rows - row), min(block, columns - column),
    )  # fmt: skip


@kernel
def _transpose(threads, tasks, arguments):
    parallel_for(_transpose_task, threads, tasks, arguments)


def _transposed(source: Tensor, target: Tensor, matrices: int, rows: int, columns: int) -> None:
    tasks = matrices * -(-rows // _BLOCK) * -(-columns // _BLOCK)
    starts = row_starts(source, columns), row_starts(source, rows)
    _transpose(thread_count(), tasks, (flat(source), flat(target), rows, columns, *starts, _BLOCK))


def to_channels_last(image: Tensor) -> Tensor:
    """Do what `image.contiguous(memory_format=torch.channels_last)` does, several times faster."""
    if image.is_contiguous(memory_format=torch.channels_last):
        return image
    image = image.contiguous()
    images, channels, height, width = image.shape
    result = torch.empty_like(image, memory_format=torch.channels_last)
    _transposed(image, result.permute(0, 2, 3, 1), images, channels, height * width)
    return result


def to_contiguous(image: Tensor) -> Tensor:
    """Do what `image.contiguous()` does, several times faster if the image is channels-last."""
    if not is_channels_last(image):
        return image.contiguous()
    images, channels, height, width = image.shape
    result = torch.empty_like(image, memory_format=torch.contiguous_format)
    _transposed(image.permute(0, 2, 3, 1), result, images, height * width, channels)
    return result
