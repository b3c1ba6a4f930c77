"""What forward and backward share: the numbers of a call, and the masked columns of a block of pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segaware.ops._parallel import jit
from segaware.ops._tile import ROWS, panel_width, scaled_rows
from segaware.ops.convolution.reference import Normalize
from segaware.ops.window import Window


class Problem(NamedTuple):
    """The numbers of one call that every kernel needs."""

    images: int
    channels: int
    height: int
    width: int
    filters: int
    out_height: int
    out_width: int
    pixels: int  # of the output
    groups: int
    group_channels: int
    group_filters: int
    kernel_width: int
    taps: int
    stride_y: int
    stride_x: int
    top: int
    left: int
    dilation_y: int
    dilation_x: int
    numerator: int  # of the scale s_i; 0 if there is none

    @classmethod
    def of(cls, input: Tensor, weight: Tensor, window: Window, groups: int, normalize: Normalize) -> Problem:
        """Take them from the arguments of the operator."""
        images, channels, height, width = input.shape
        out_height, out_width = window.output_size(input)
        (top, _), (left, _) = window.padding
        numerator = {"mean": window.size, "sum": 1, "none": 0}[normalize]
        return cls(
            images, channels, height, width, weight.shape[0], out_height, out_width, out_height * out_width,
            groups, weight.shape[1], weight.shape[0] // groups, window.kernel_size[1], window.size,
            *window.stride, top, left, *window.dilation, numerator,
        )  # fmt: skip

    def taps_at_once(self) -> int:
        """Return how many taps make columns that are wide enough for an efficient product, in equal shares."""
        most = max(1, min(self.taps, 600 // max(self.group_channels, 1)))
        return -(-self.taps // -(-self.taps // most))


def column_step(columns: int) -> int:
    """Return how far apart the columns of two pixels are: whole cache lines, with room for a tile's last rows."""
    return (columns + ROWS + 15) // 16 * 16


class Scratch(NamedTuple):
    """Memory of each thread, one row per thread."""

    columns: Any  # masked columns, pixel by pixel; or gradients
    tiles: Any  # tiles side by side
    scales: Any  # s_i of a block of pixels
    outputs: Any  # the output pixels of a block that see the image at a tap
    inputs: Any  # the input pixels that they see

    @classmethod
    def of(cls, input: Tensor, threads: int, block: int, columns: int, tiles: int = 1) -> Scratch:
        """Allocate it for blocks of pixels, with so many columns of each pixel, and so many tiles."""
        pixels = torch.empty((2, threads, block), dtype=torch.int64).numpy()
        return cls(
            input.new_empty(threads, (block + ROWS) * columns).numpy(),
            input.new_empty(threads, tiles * ROWS * panel_width(input.element_size())).numpy(),
            input.new_empty(threads, block).numpy(),
            *pixels,
        )


@jit
def run_inside(tap, row, first, last, problem):
    """Return the part of an output row that is in a block and whose tap is inside the image.

    That is the first and the last output pixel (exclusive), and the input pixel that the first one sees.
    """
    i = tap // problem.kernel_width
    below = i * problem.dilation_y - problem.top
    right = (tap - i * problem.kernel_width) * problem.dilation_x - problem.left
    h, start = row * problem.stride_y + below, row * problem.out_width
    low = max(-(right // problem.stride_x), first - start, 0)
    high = min((problem.width - 1 - right) // problem.stride_x + 1, last - start, problem.out_width)
    if h < 0 or h >= problem.height or high < low:
        low = high = max(first - start, 0)
    return start + low, start + high, h * problem.width + low * problem.stride_x + right


@jit
def pixels_inside(tap, first, last, problem, outputs, inputs):
    """List the output pixels of a block whose tap is inside the image, and the input pixels that they see there."""
    count = 0
    for row in range(first // problem.out_width, (last - 1) // problem.out_width + 1):
        start, stop, source = run_inside(tap, row, first, last, problem)
        for pixel in range(start, stop):
            outputs[count] = pixel
            inputs[count] = source
            source += problem.stride_x
            count += 1
    return count


@jit
def mask_scales(mask, image, first, last, problem, scale):
    """scale[i - first] = numerator / sum_k m_ik, NaN where that sum is 0; or 1."""
    count = last - first
    if problem.numerator == 0:
        scale[:count] = 1
        return
    total = scale[:count]
    total[:] = 0
    for k in range(problem.taps):
        start = (image * problem.taps + k) * problem.pixels
        values = mask[start + first : start + last]
        for q in range(count):
            total[q] += values[q]
    for q in range(count):
        total[q] = problem.numerator / total[q] if total[q] != 0 else np.nan


@jit
def masked_columns(
    image, first, last, tap, stop_tap, channel, channels, input, origin, mask, scale, problem, columns, step, outputs
):
    """Write s_i m_ik x_k of a block of pixels i, a range of taps k and of channels; return how many pixels are listed.

    Of a single tap only the pixels that see the image are listed; several taps list all and have 0 where they do not.
    The columns of neighbouring pixels are `step` apart. Pixel p of the image is number origin + p of `input`.
    """
    width = problem.out_width
    single = stop_tap - tap == 1
    count = 0
    for k in range(tap, stop_tap):
        values = (image * problem.taps + k) * problem.pixels
        place = (k - tap) * channels
        count = 0
        for row in range(first // width, (last - 1) // width + 1):
            start, stop, source = run_inside(k, row, first, last, problem)
            if not single:
                for _ in range(max(first, row * width), start):
                    columns[place : place + channels] = 0
                    place += step
                    count += 1
            scaled_rows(
                columns, place, step, input, (origin + source) * problem.channels + channel,
                problem.stride_x * problem.channels, mask, values + start, scale, start - first, stop - start, channels,
            )  # fmt: skip
            if single:
                for q in range(stop - start):
                    outputs[count + q] = start + q
            place += step * (stop - start)
            count += stop - start
            if not single:
                for _ in range(stop, min(last, (row + 1) * width)):
                    columns[place : place + channels] = 0
                    place += step
                    count += 1
    if not single:
        for q in range(count):
            outputs[q] = first + q
    return count
