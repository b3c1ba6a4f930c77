"""Depthwise convolution, one filter per channel: sums over the taps, of vectors of channels.

Where in the window the taps of an output pixel are that see the image is listed once for all neighbours in its row of
which the same taps do.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from segaware.ops._layout import to_channels_last, to_contiguous
from segaware.ops._parallel import flat, jit, kernel, parallel_for, thread_count
from segaware.ops._tile import vector_lanes
from segaware.ops.arguments import is_channels_last
from segaware.ops.convolution._numba.backward import backward_bias, backward_mask
from segaware.ops.convolution._numba.columns import Problem, mask_scales
from segaware.ops.convolution._numba.products import product_gradients, sum_products
from segaware.ops.convolution.reference import Normalize
from segaware.ops.window import Window


def _scratch(input: Tensor, problem: Problem, threads: int) -> tuple[np.ndarray, ...]:
    """Return memory of each thread for a row of output pixels: s_i, s_i m_ik, gradients of these, and listed taps."""
    scales = input.new_empty(threads, problem.out_width)
    factors, gradients = input.new_empty(2, threads, problem.taps * problem.out_width)
    places = torch.empty(threads, 3 * problem.taps, dtype=torch.int64)
    return scales.numpy(), factors.numpy(), gradients.numpy(), places.numpy()


@jit
def _row_factors(mask, image, row, problem, scale, factors):
    """factors[k * width + column] = s_i m_ik for the pixels i of a row of the output."""
    width = problem.out_width
    mask_scales(mask, image, row * width, (row + 1) * width, problem, scale)
    for k in range(problem.taps):
        start = (image * problem.taps + k) * problem.pixels + row * width
        values, products = mask[start : start + width], factors[k * width : (k + 1) * width]
        for column in range(width):
            products[column] = values[column] * scale[column]


@jit
def _taps_inside(start, dilation, taps, size):
    """Return the first and the last (exclusive) of the taps start, start + dilation, ... that are in 0 ... size - 1."""
    if start >= 0 and start + (taps - 1) * dilation < size:
        return 0, taps
    low = max(0, -(start // dilation))
    return low, max(low, min(taps, (size - 1 - start) // dilation + 1))


@jit
def _list_taps(rows, columns, problem, places):
    """List how far the taps in a range of rows and columns are from the window's first; return how many they are."""
    place = 0
    for i in range(rows[0], rows[1]):
        for j in range(columns[0], columns[1]):
            k = i * problem.kernel_width + j
            pixel = i * problem.dilation_y * problem.width + j * problem.dilation_x
            places[place] = pixel * problem.channels
            places[place + 1] = k * problem.channels
            places[place + 2] = k * problem.out_width
            place += 3
    return place // 3


@jit
def _forward_task(task, thread, input, weight, mask, bias, output, scratch, problem, band):
    """Compute a band of rows of one image."""
    scales, factors, _, places = scratch
    scale, factors, places = scales[thread], factors[thread], places[thread]
    channels, width, taps_y = problem.channels, problem.out_width, problem.taps // problem.kernel_width
    bands = (problem.out_height + band - 1) // band
    image, first_row = task // bands, task % bands * band
    for row in range(first_row, min(problem.out_height, first_row + band)):
        _row_factors(mask, image, row, problem, scale, factors)
        h = row * problem.stride_y - problem.top
        rows, listed, taps = _taps_inside(h, problem.dilation_y, taps_y, problem.height), (-1, -1), 0
        for column in range(width):
            w = column * problem.stride_x - problem.left
            columns = _taps_inside(w, problem.dilation_x, problem.kernel_width, problem.width)
            if columns != listed:
                taps, listed = _list_taps(rows, columns, problem, places), columns
            target = (image * problem.pixels + row * width + column) * channels
            seen = ((image * problem.height + h) * problem.width + w) * channels
            if np.isnan(scale[column]):  # which does not reach a pixel that sees nothing of the image
                output[target : target + channels] = np.nan
            else:
                sum_products(output, target, bias, input, seen, weight, 0, factors, column, places, taps, channels)


@kernel
def _forward(threads, tasks, arguments):
    parallel_for(_forward_task, threads, tasks, arguments)


def forward(
    input: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, window: Window, groups: int, normalize: Normalize
) -> Tensor:
    """Return Eq. 7, channels-last if the input is, as conv2d."""
    problem, threads = Problem.of(input, weight, window, groups, normalize), thread_count()
    band = math.ceil(problem.out_height / 16)
    output = input.new_empty(problem.images, problem.out_height, problem.out_width, problem.channels)
    arguments = (
        flat(to_channels_last(input).permute(0, 2, 3, 1)), flat(weight.flatten(1).t()), flat(mask),
        flat(input.new_zeros(problem.filters) if bias is None else bias), flat(output),
        _scratch(input, problem, threads), problem, band,
    )  # fmt: skip
    _forward(threads, problem.images * math.ceil(problem.out_height / band), arguments)
    output = output.permute(0, 3, 1, 2)
    return output if is_channels_last(input) else to_contiguous(output)


@jit
def _backward_task(
    task, thread, grad, input, weight, mask, grad_input, grad_weights, partial, scratch, problem, lanes, chunks, band,
    colour,
):  # fmt: skip
    """Add up the gradients that a band of output rows gives to some channels; bands of one colour do not meet."""
    scales, factors, gradients, places = scratch
    scale, factors, gradients, places = scales[thread], factors[thread], gradients[thread], places[thread]
    channels, width, taps_y = problem.channels, problem.out_width, problem.taps // problem.kernel_width
    bands, vectors = (problem.out_height + band - 1) // band, (channels + lanes - 1) // lanes
    coloured_bands = (bands + 1 - colour) // 2
    chunk, image = task % chunks, task // (chunks * coloured_bands)
    index = task // chunks % coloured_bands * 2 + colour
    channel, stop = chunk * vectors // chunks * lanes, min(channels, (chunk + 1) * vectors // chunks * lanes)
    grad_weight = grad_weights[image * bands + index]
    for k in range(problem.taps):
        grad_weight[k * channels + channel : k * channels + stop] = 0

    for row in range(index * band, min(problem.out_height, (index + 1) * band)):
        _row_factors(mask, image, row, problem, scale, factors)
        gradients[:] = 0
        h = row * problem.stride_y - problem.top
        rows, listed, taps = _taps_inside(h, problem.dilation_y, taps_y, problem.height), (-1, -1), 0
        for column in range(width):
            w = column * problem.stride_x - problem.left
            columns = _taps_inside(w, problem.dilation_x, problem.kernel_width, problem.width)
            if columns != listed:
                taps, listed = _list_taps(rows, columns, problem, places), columns
            source = (image * problem.pixels + row * width + column) * channels + channel
            seen = ((image * problem.height + h) * problem.width + w) * channels + channel
            product_gradients(
                grad, source, input, grad_input, seen, weight, grad_weight, channel, factors, gradients, column,
                places, taps, stop - channel,
            )  # fmt: skip
        for k in range(problem.taps):
            start = ((chunk * problem.images + image) * problem.taps + k) * problem.pixels + row * width
            part, values = partial[start : start + width], gradients[k * width : (k + 1) * width]
            for column in range(width):
                part[column] = values[column] * scale[column]


@kernel
def _backward(threads, tasks, arguments):
    parallel_for(_backward_task, threads, tasks, arguments)


def _gradients(grad: Tensor, input: Tensor, weight: Tensor, mask: Tensor, problem: Problem) -> tuple[Tensor, ...]:
    """Return the gradients of input, weight and mask."""
    threads, lanes = thread_count(), vector_lanes(input.element_size())
    # As in backward.py, a band is so high that the next of its colour sees other input rows.
    reach = (problem.taps // problem.kernel_width - 1) * problem.dilation_y // problem.stride_y
    band = max(1, reach, math.ceil(problem.out_height * problem.images / 16))
    bands = math.ceil(problem.out_height / band)
    # Where bands are few, several tasks share one; with less than three vectors of channels a task is inefficient.
    chunks = max(1, min(problem.channels // lanes // 3, math.ceil(16 / max(1, problem.images * bands))))
    grad_input = torch.zeros_like(input)
    grad_weights = input.new_empty(problem.images * bands, problem.taps * problem.channels).numpy()
    partial = input.new_empty(chunks, *mask.shape)
    arguments = (
        flat(grad.permute(0, 2, 3, 1)), flat(input.permute(0, 2, 3, 1)), flat(weight.flatten(1).t()), flat(mask),
        flat(grad_input.permute(0, 2, 3, 1)), grad_weights, flat(partial), _scratch(input, problem, threads), problem,
        lanes, chunks, band,
    )  # fmt: skip
    for colour in (0, 1):
        _backward(threads, problem.images * chunks * ((bands + 1 - colour) // 2), (*arguments, colour))
    grad_weight = torch.from_numpy(grad_weights.sum(0)).view(problem.taps, problem.channels).t().contiguous()
    return grad_input, grad_weight.view_as(weight), backward_mask(partial, mask, problem)


def backward(
    grad: Tensor, input: Tensor, weight: Tensor, mask: Tensor, window: Window, groups: int, normalize: Normalize,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of input, weight, mask and bias; empty tensors for those that are not needed."""
    problem, channels_last = Problem.of(input, weight, window, groups, normalize), is_channels_last(input)
    grad, input = to_channels_last(grad), to_channels_last(input)
    grads = [grad.new_empty(0) for _ in needed]
    if any(needed[:3]):
        grads[:3] = _gradients(grad, input, weight, mask, problem)
    if needed[0] and not channels_last:
        grads[0] = to_contiguous(grads[0])
    if needed[3]:
        grads[3] = backward_bias(grad, problem)
    grad_input, grad_weight, grad_mask, grad_bias = (
        g if need else g.new_empty(0) for g, need in zip(grads, needed, strict=True)
    )
    return grad_input, grad_weight, grad_mask, grad_bias
