"""The output: masked columns times filters."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segaware.ops._layout import row_starts, to_channels_last, transpose_block
from segaware.ops._parallel import flat, jit, kernel, parallel_for, thread_count
from segaware.ops._tile import ROWS, add, multiply_tile, panel_width
from segaware.ops.arguments import is_channels_last
from segaware.ops.convolution._numba.columns import Problem, Scratch, column_step, mask_scales, masked_columns
from segaware.ops.convolution._numba.panels import filter_panels
from segaware.ops.convolution.reference import Normalize
from segaware.ops.window import Window


class _Plan(NamedTuple):
    """How the work is cut, and where rows of matrices begin that are transposed: pixels by channels, or planes."""

    band: int  # pixels of a task
    splits: int  # shares of the filters
    block: int  # pixels at a time
    chunk: int  # taps at a time
    step: int  # from the columns of one pixel to those of the next
    input_planes: Any
    input_pixels: Any
    output_planes: Any
    output_pixels: Any


@jit
def _forward_task(task, thread, input, panels, mask, bias, output, seen, results, scratch, problem, plan):
    """Compute a band of pixels of one image, for one of `splits` shares of the filters of every group.

    Of an image that is not channels-last, the rows that the band sees are copied to `seen`; if the output is not,
    blocks are computed in `results` and transposed.
    """
    bands, splits = (problem.pixels + plan.band - 1) // plan.band, plan.splits
    image, split = task // (bands * splits), task % splits
    start = task // splits % bands * plan.band
    stop = min(problem.pixels, start + plan.band)
    origin = image * problem.height * problem.width
    if seen.size > 0:
        taps_y = problem.taps // problem.kernel_width
        low = start // problem.out_width * problem.stride_y - problem.top
        high = (stop - 1) // problem.out_width * problem.stride_y - problem.top + (taps_y - 1) * problem.dilation_y + 1
        low, high = min(max(low, 0), problem.height), max(min(high, problem.height), 0)
        first = origin * problem.channels + low * problem.width
        pixels = (high - low) * problem.width
        transpose_block(input, first, plan.input_planes, seen[thread], 0, plan.input_pixels, problem.channels, pixels)
        input, origin = seen[thread], -low * problem.width
    for first in range(start, stop, plan.block):
        last = min(stop, first + plan.block)
        if results.size == 0:
            to = image * problem.pixels
            _forward_block(
                image, first, last, split, thread, input, origin, panels, mask, bias, output, to, scratch, problem, plan
            )
            continue
        result = results[thread]
        _forward_block(
            image, first, last, split, thread, input, origin, panels, mask, bias, result, -first, scratch, problem, plan
        )
        for group in range(problem.groups):
            first_filter, last_filter = _filter_range(group, split, scratch.tiles.shape[1] // ROWS, problem, splits)
            plane = (image * problem.filters + first_filter) * problem.pixels + first
            transpose_block(
                result, first_filter, plan.output_pixels, output, plane, plan.output_planes, last - first,
                last_filter - first_filter,
            )  # fmt: skip


@jit
def _panel_range(split, panel, problem, splits):
    """Return the first and the last (exclusive) panel of filters that a split computes of every group."""
    panels = (problem.group_filters + panel - 1) // panel
    return split * panels // splits, (split + 1) * panels // splits


@jit
def _filter_range(group, split, panel, problem, splits):
    first, last = _panel_range(split, panel, problem, splits)
    start = group * problem.group_filters
    return start + first * panel, start + min(problem.group_filters, last * panel)


@jit
def _forward_block(
    image, first, last, split, thread, input, origin, panels, mask, bias, target, to, scratch, problem, plan
):
    """Compute a block; pixel p of the image is number `origin + p` of the input and `to + p` of the target."""
    columns, tile, scale = scratch.columns[thread], scratch.tiles[thread], scratch.scales[thread]
    outputs = scratch.outputs[thread]
    taps, channels, filters, panel = problem.taps, problem.group_channels, problem.filters, tile.size // ROWS
    group_panels = (problem.group_filters + panel - 1) // panel
    first_panel, last_panel = _panel_range(split, panel, problem, plan.splits)
    mask_scales(mask, image, first, last, problem, scale)
    for group in range(problem.groups):
        # A single tap lists only pixels that see the image, so there it is added to what all pixels have: the bias.
        add_to_bias = plan.chunk == 1
        if add_to_bias:
            start, stop = _filter_range(group, split, panel, problem, plan.splits)
            for pixel in range(to + first, to + last):
                target[pixel * filters + start : pixel * filters + stop] = bias[start:stop]
        for tap in range(0, taps, plan.chunk):
            stop_tap = min(taps, tap + plan.chunk)
            count = masked_columns(
                image, first, last, tap, stop_tap, group * channels, channels, input, origin, mask, scale, problem,
                columns, plan.step, outputs,
            )  # fmt: skip
            for p in range(first_panel, last_panel):
                weights = ((group * group_panels + p) * taps + tap) * channels * panel
                filter, wide = group * problem.group_filters + p * panel, min(panel, problem.group_filters - p * panel)
                for row in range(0, count, ROWS):
                    steps = (stop_tap - tap) * channels
                    multiply_tile(columns, row * plan.step, plan.step, 1, panels, weights, panel, steps, tile, 0, panel)
                    for r in range(min(ROWS, count - row)):
                        place = (to + outputs[row + r]) * filters + filter
                        if tap == 0 and not add_to_bias:
                            add(target, place, tile, r * panel, bias, filter, wide)
                        else:
                            add(target, place, tile, r * panel, target, place, wide)
    # A scale that is NaN has not reached pixels that see nothing of the image.
    for pixel in range(first, last):
        if np.isnan(scale[pixel - first]):
            for group in range(problem.groups):
                start, stop = _filter_range(group, split, panel, problem, plan.splits)
                place = (to + pixel) * filters
                target[place + start : place + stop] = np.nan


@kernel
def _forward(threads, tasks, arguments):
    parallel_for(_forward_task, threads, tasks, arguments)


def forward(
    input: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, window: Window, groups: int, normalize: Normalize
) -> Tensor:
    """Return Eq. 7, channels-last if the input or the weight is, as conv2d."""
    problem, threads = Problem.of(input, weight, window, groups, normalize), thread_count()
    output_last = is_channels_last(input) or is_channels_last(weight)
    # Of an image whose copy would cost much memory, copy one band after the other.
    if input.numel() < problem.images << 21:
        input = to_channels_last(input)
    input_last = input.is_contiguous(memory_format=torch.channels_last)
    chunk = problem.taps_at_once()
    # All taps at once: columns that fill a part of the L2 cache. Otherwise the weights no longer stay in the cache
    # from block to block: the larger they are, the larger the blocks.
    band = block = 84 if chunk == problem.taps else 210 if weight.numel() < 1 << 20 else 420
    seen = 0
    if not input_last:
        input = input.contiguous()
        # A band of so many rows that not much of what it sees is copied for the next band too.
        reach = (window.kernel_size[0] - 1) * problem.dilation_y
        bands = max(1, problem.out_height // max(8, reach // problem.stride_y))
        rows = math.ceil(problem.out_height / bands)
        band = rows * problem.out_width
        seen = min(problem.height, (rows - 1) * problem.stride_y + reach + 1) * problem.width * problem.channels
    bands = math.ceil(problem.pixels / band)
    group_panels = math.ceil(problem.group_filters / panel_width(input.element_size()))
    # Deep layers have few pixels and many filters.
    splits = max(1, min(group_panels // 4, math.ceil(8 / max(1, problem.images * bands))))
    step = column_step(chunk * problem.group_channels)
    plan = _Plan(
        band, splits, block, chunk, step,
        row_starts(input, problem.height * problem.width), row_starts(input, problem.channels),
        row_starts(input, problem.pixels), row_starts(input, problem.filters),
    )  # fmt: skip
    output = torch.empty(
        (problem.images, problem.filters, problem.out_height, problem.out_width), dtype=input.dtype,
        memory_format=torch.channels_last if output_last else torch.contiguous_format,
    )  # fmt: skip
    arguments = (
        flat(input.permute(0, 2, 3, 1) if input_last else input), flat(filter_panels(weight, problem)), flat(mask),
        flat(input.new_zeros(problem.filters) if bias is None else bias),
        flat(output.permute(0, 2, 3, 1) if output_last else output), input.new_empty(threads, seen).numpy(),
        input.new_empty(threads, 0 if output_last else block * problem.filters).numpy(),
        Scratch.of(input, threads, block, step), problem, plan,
    )  # fmt: skip
    _forward(threads, problem.images * bands * splits, arguments)
    return output
