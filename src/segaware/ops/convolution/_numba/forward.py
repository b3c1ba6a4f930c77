"""The output: masked columns times filters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segaware.ops._layout import is_channels_last, row_starts, to_channels_last, transpose_block
from segaware.ops._parallel import flat, jit, parallel_for, thread_count
from segaware.ops._tile import ROWS, add, multiply_tile, panel_width
from segaware.ops.convolution._numba.columns import Problem, Scratch, column_step, mask_scales, masked_columns
from segaware.ops.convolution._numba.panels import filter_panels
from segaware.ops.convolution.reference import Normalize
from segaware.ops.window import Window


@jit
def _forward_task(
    task, thread, input, panels, mask, bias, output, results, rows, output_rows, scratch, problem, block, chunk, step,
    splits,
):  # fmt: skip
    """Compute a block of pixels of one image, for one of `splits` shares of the filters of every group.

    For a channels-last output in place, for another in `results`, which are then transposed.
    """
    columns, tile, scale = scratch.columns[thread], scratch.tiles[thread], scratch.scales[thread]
    outputs = scratch.outputs[thread]
    taps, channels, filters, panel = problem.taps, problem.group_channels, problem.filters, tile.size // ROWS
    group_panels = (problem.group_filters + panel - 1) // panel
    blocks = (problem.pixels + block - 1) // block
    image, rest = task // (blocks * splits), task % (blocks * splits)
    first = rest // splits * block
    last = min(problem.pixels, first + block)
    first_panel, last_panel = rest % splits * group_panels // splits, (rest % splits + 1) * group_panels // splits

    in_place = results.size == 0
    target = output if in_place else results[thread]
    origin = image * problem.pixels if in_place else -first
    mask_scales(mask, image, first, last, problem, scale)
    for group in range(problem.groups):
        group_start = group * problem.group_filters
        start = group_start + first_panel * panel
        stop = group_start + min(problem.group_filters, last_panel * panel)
        # A single tap lists only pixels that see the image, so there it is added to what all pixels have: the bias.
        add_to_bias = chunk == 1
        if add_to_bias:
            for pixel in range(origin + first, origin + last):
                target[pixel * filters + start : pixel * filters + stop] = bias[start:stop]
        for tap in range(0, taps, chunk):
            stop_tap = min(taps, tap + chunk)
            count = masked_columns(
                image, first, last, tap, stop_tap, group * channels, channels, input, mask, scale, problem, columns,
                step, outputs,
            )  # fmt: skip
            for p in range(first_panel, last_panel):
                place = ((group * group_panels + p) * taps + tap) * channels * panel
                filter, wide = group_start + p * panel, min(panel, problem.group_filters - p * panel)
                for row in range(0, count, ROWS):
                    steps = (stop_tap - tap) * channels
                    multiply_tile(columns, row * step, step, 1, panels, place, panel, steps, tile, 0, panel)
                    for r in range(min(ROWS, count - row)):
                        to = (origin + outputs[row + r]) * filters + filter
                        if tap == 0 and not add_to_bias:
                            add(target, to, tile, r * panel, bias, filter, wide)
                        else:
                            add(target, to, tile, r * panel, target, to, wide)
        if not in_place:
            plane = (image * filters + start) * problem.pixels + first
            transpose_block(target, start, rows, output, plane, output_rows, last - first, stop - start)


@jit
def _forward(threads, tasks, arguments):
    parallel_for(_forward_task, threads, tasks, arguments)


def forward(
    input: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, window: Window, groups: int, normalize: Normalize
) -> Tensor:
    """Return Eq. 7, channels-last if the input or the weight is, as conv2d."""
    problem, threads = Problem.of(input, weight, window, groups, normalize), thread_count()
    channels_last = is_channels_last(input) or is_channels_last(weight)
    chunk = problem.taps_at_once()
    # All taps at once: columns that fill a part of the L2 cache. Otherwise the weights no longer stay in the cache
    # from block to block: the larger they are, the larger the blocks.
    block = 84 if chunk == problem.taps else 210 if weight.numel() < 1 << 20 else 420
    blocks = math.ceil(problem.pixels / block)
    group_panels = math.ceil(problem.group_filters / panel_width(input.element_size()))
    # Deep layers have few pixels and many filters.
    splits = max(1, min(group_panels // 4, math.ceil(8 / max(1, problem.images * blocks))))
    step = column_step(chunk * problem.group_channels)
    output = torch.empty(
        (problem.images, problem.filters, problem.out_height, problem.out_width), dtype=input.dtype,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )  # fmt: skip
    arguments = (
        flat(to_channels_last(input).permute(0, 2, 3, 1)), flat(filter_panels(weight, problem)), flat(mask),
        flat(input.new_zeros(problem.filters) if bias is None else bias),
        flat(output.permute(0, 2, 3, 1) if channels_last else output),
        input.new_empty(threads, 0 if channels_last else block * problem.filters).numpy(),
        row_starts(input, problem.filters), row_starts(input, problem.pixels),
        Scratch.of(input, threads, block, step), problem, block, chunk, step, splits,
    )  # fmt: skip
    _forward(threads, problem.images * blocks * splits, arguments)
    return output
