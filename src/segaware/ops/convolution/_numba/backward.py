"""The gradients of input, weight, mask and bias."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segaware.ops._layout import to_channels_last, to_contiguous
from segaware.ops._parallel import flat, jit, kernel, parallel_for, thread_count
from segaware.ops._tile import ROWS, add, multiply_tile, panel_width, scaled_copy, scatter_and_dot
from segaware.ops.arguments import is_channels_last
from segaware.ops.convolution._numba.columns import (
    Problem,
    Scratch,
    column_step,
    mask_scales,
    masked_columns,
    pixels_inside,
)
from segaware.ops.convolution._numba.panels import channel_panels, filters_from_shares
from segaware.ops.convolution.reference import Normalize
from segaware.ops.window import Window

_BLOCK = 168  # pixels at a time
_PANELS = 4  # tiles side by side


@jit
def _input_task(
    task, thread, grad, input, panels, mask, grad_input, partial, listed, scratch, problem, chunks, band, colour
):  # fmt: skip
    """Scatter m_ik u_ik to the gradient of the input, and write x_k u_ik, a part of the gradient of the mask.

    A task owns some panels of channels and a band of output rows; bands of one colour are too far apart to meet.
    """
    gradients, listed, tile, scale = (
        scratch.columns[thread],
        listed[thread],
        scratch.tiles[thread],
        scratch.scales[thread],
    )
    outputs, inputs = scratch.outputs[thread], scratch.inputs[thread]
    taps, pixels, filters, panel = problem.taps, problem.pixels, problem.filters, tile.size // ROWS // _PANELS
    channels, group_filters = problem.group_channels, problem.group_filters
    group_panels = (channels + panel - 1) // panel
    coloured_bands = ((problem.out_height + band - 1) // band + 1 - colour) // 2

    chunk, image = task % chunks, task // (chunks * coloured_bands)
    first_row = (task // chunks % coloured_bands * 2 + colour) * band
    start = first_row * problem.out_width
    stop = min(problem.out_height, first_row + band) * problem.out_width
    all_panels = problem.groups * group_panels
    part = (chunk * problem.images + image) * taps * pixels
    for k in range(taps):
        partial[part + k * pixels + start : part + k * pixels + stop] = 0

    for first in range(start, stop, _BLOCK):
        last = min(stop, first + _BLOCK)
        mask_scales(mask, image, first, last, problem, scale)
        for q in range(last - first):
            source = (image * pixels + first + q) * filters
            scaled_copy(gradients, q * filters, grad, source, scale[q], filters)
        for k in range(taps):
            count = pixels_inside(k, first, last, problem, outputs, inputs)
            rows = gradients
            if count < last - first:
                rows = listed
                for q in range(count):
                    source = (outputs[q] - first) * filters
                    scaled_copy(listed, q * filters, gradients, source, scale.dtype.type(1), filters)
            p = chunk * all_panels // chunks
            while p < (chunk + 1) * all_panels // chunks:
                # The panels of one group together, so that there is more to do per pixel.
                group, place = p // group_panels, p % group_panels * panel
                together = min((chunk + 1) * all_panels // chunks - p, group_panels - p % group_panels, _PANELS)
                channel, wide = group * channels + place, min(together * panel, channels - place)
                for q in range(0, count, ROWS):
                    for t in range(together):
                        weights = ((p + t) * taps + k) * group_filters * panel
                        multiply_tile(
                            rows, q * filters + group * group_filters, filters, 1, panels, weights, panel,
                            group_filters, tile, t * panel, _PANELS * panel,
                        )  # fmt: skip
                    for r in range(min(ROWS, count - q)):
                        pixel = k * pixels + outputs[q + r]
                        seen = (image * problem.height * problem.width + inputs[q + r]) * problem.channels + channel
                        factor = mask[image * taps * pixels + pixel]
                        partial[part + pixel] += scatter_and_dot(
                            tile, r * _PANELS * panel, input, seen, grad_input, seen, factor, wide
                        )
                p += together


@kernel
def _input(threads, tasks, arguments):
    parallel_for(_input_task, threads, tasks, arguments)


@jit
def _mask_task(task, thread, partial, mask, grad_mask, totals, problem, chunks):
    """Add the parts of the gradient of the mask in order, and take out what moves the denominator."""
    block, taps, pixels = totals.shape[1] // 2, problem.taps, problem.pixels
    blocks = (pixels + block - 1) // block
    image, first = task // blocks, task % blocks * block
    count = min(block, pixels - first)
    total, weighted = totals[thread, :count], totals[thread, block : block + count]
    total[:] = 0
    weighted[:] = 0
    for k in range(taps):
        start = (image * taps + k) * pixels + first
        gradient, values = grad_mask[start : start + count], mask[start : start + count]
        gradient[:] = 0
        for chunk in range(chunks):
            part = chunk * problem.images * taps * pixels + start
            share = partial[part : part + count]
            for q in range(count):
                gradient[q] += share[q]
        for q in range(count):
            total[q] += values[q]
            weighted[q] += values[q] * gradient[q]
    if problem.numerator != 0:
        for q in range(count):
            total[q] = weighted[q] / total[q]
        for k in range(taps):
            start = (image * taps + k) * pixels + first
            gradient = grad_mask[start : start + count]
            for q in range(count):
                gradient[q] -= total[q]


@kernel
def _mask(threads, tasks, arguments):
    parallel_for(_mask_task, threads, tasks, arguments)


def backward_mask(partial: Tensor, mask: Tensor, problem: Problem) -> Tensor:
    """Return the gradient of the mask from its parts [chunk], which are without what moves the denominator."""
    threads = thread_count()
    grad_mask = torch.empty_like(mask, memory_format=torch.contiguous_format)
    block = 1024
    totals = mask.new_empty(threads, 2 * block).numpy()
    tasks = problem.images * math.ceil(problem.pixels / block)
    _mask(threads, tasks, (flat(partial), flat(mask), flat(grad_mask), totals, problem, partial.shape[0]))
    return grad_mask


def _backward_input(
    grad: Tensor, input: Tensor, weight: Tensor, mask: Tensor, problem: Problem
) -> tuple[Tensor, Tensor]:
    """Return the gradients of input and mask."""
    threads = thread_count()
    panels = problem.groups * math.ceil(problem.group_channels / panel_width(input.element_size()))
    chunks = min(8, math.ceil(panels / _PANELS))
    # A band sees (taps_y - 1) * dilation + stride * (band - 1) + 1 input rows, and the next of its colour begins
    # stride * 2 * band further down.
    taps_y = problem.taps // problem.kernel_width
    band = max(1, (taps_y - 1) * problem.dilation_y // problem.stride_y, math.ceil(problem.out_height / 16))
    bands = math.ceil(problem.out_height / band)
    grad_input = torch.zeros_like(input)
    partial = input.new_empty(chunks, *mask.shape)
    scratch = Scratch.of(input, threads, _BLOCK, problem.filters, _PANELS)
    # listed: the gradients of those pixels of a block that see the image at a tap
    listed = input.new_empty(threads, (_BLOCK + ROWS) * problem.filters).numpy()
    arguments = (
        flat(grad.permute(0, 2, 3, 1)), flat(input.permute(0, 2, 3, 1)), flat(channel_panels(weight, problem)),
        flat(mask), flat(grad_input.permute(0, 2, 3, 1)), flat(partial), listed, scratch, problem, chunks, band,
    )  # fmt: skip
    for colour in (0, 1):
        _input(threads, problem.images * chunks * ((bands + 1 - colour) // 2), (*arguments, colour))
    return grad_input, backward_mask(partial, mask, problem)


@jit
def _weight_task(
    task, thread, grad, input, mask, partial, gradients, scratch, problem, chunk, step, parts, shares
):  # fmt: skip
    """Add up columns times gradients over a share of all blocks of pixels, for some taps and channels of one group."""
    columns, tile, scale = scratch.columns[thread], scratch.tiles[thread], scratch.scales[thread]
    outputs, gradients = scratch.outputs[thread], gradients[thread]
    panel, filters = tile.size // ROWS, problem.group_filters
    blocks = (problem.pixels + _BLOCK - 1) // _BLOCK
    tap_chunks = (problem.taps + chunk - 1) // chunk

    rest, part = task // parts, task % parts
    tap, rest = rest % tap_chunks * chunk, rest // tap_chunks
    group, share = rest % problem.groups, rest // problem.groups
    stop_tap = min(problem.taps, tap + chunk)
    first_channel, stop_channel = part * problem.group_channels // parts, (part + 1) * problem.group_channels // parts
    channels = stop_channel - first_channel
    rows = (stop_tap - tap) * channels
    for index in range(share * problem.images * blocks // shares, (share + 1) * problem.images * blocks // shares):
        image, first = index // blocks, index % blocks * _BLOCK
        last = min(problem.pixels, first + _BLOCK)
        mask_scales(mask, image, first, last, problem, scale)
        count = masked_columns(
            image, first, last, tap, stop_tap, group * problem.group_channels + first_channel, channels, input,
            image * problem.height * problem.width, mask, scale, problem, columns, step, outputs,
        )  # fmt: skip
        if count == 0:
            continue
        for start in range(0, filters, panel):
            wide = min(panel, filters - start)
            for q in range(count):
                source = (image * problem.pixels + outputs[q]) * problem.filters + group * filters + start
                scaled_copy(gradients, q * panel, grad, source, scale.dtype.type(1), wide)
            for row in range(0, rows, ROWS):
                multiply_tile(columns, row, 1, step, gradients, 0, panel, count, tile, 0, panel)
                for r in range(row, min(rows, row + ROWS)):
                    k, c = tap + r // channels, first_channel + r % channels
                    place = ((share * problem.groups + group) * problem.taps + k) * problem.group_channels + c
                    place = place * filters + start
                    add(partial, place, partial, place, tile, (r - row) * panel, wide)


@kernel
def _weight(threads, tasks, arguments):
    parallel_for(_weight_task, threads, tasks, arguments)


def _backward_weight(grad: Tensor, input: Tensor, weight: Tensor, mask: Tensor, problem: Problem) -> Tensor:
    threads, chunk = thread_count(), problem.taps_at_once()
    parts = math.ceil(problem.group_channels / 384)
    tasks = problem.groups * math.ceil(problem.taps / chunk) * parts
    # Each share of the pixels needs a copy of the weight's gradient: none beside the first for large weights.
    shares = max(1, min(16 // tasks, (1 << 20) // weight.numel()))
    partial = input.new_zeros(shares, weight.numel())
    step = column_step(chunk * math.ceil(problem.group_channels / parts))
    gradients = input.new_empty(threads, _BLOCK * panel_width(input.element_size())).numpy()
    arguments = (
        flat(grad.permute(0, 2, 3, 1)), flat(input.permute(0, 2, 3, 1)), flat(mask), flat(partial), gradients,
        Scratch.of(input, threads, _BLOCK, step), problem, chunk, step, parts, shares,
    )  # fmt: skip
    _weight(threads, tasks * shares, arguments)
    return filters_from_shares(partial, weight, problem)


@jit
def _bias_task(task, thread, grad, partial, shares, filters):
    """Add up the gradients of a share of all pixels."""
    pixels = grad.size // filters
    place = task * filters
    partial[place : place + filters] = 0
    for pixel in range(task * pixels // shares, (task + 1) * pixels // shares):
        add(partial, place, partial, place, grad, pixel * filters, filters)


@kernel
def _bias(threads, tasks, arguments):
    parallel_for(_bias_task, threads, tasks, arguments)


def backward_bias(grad: Tensor, problem: Problem) -> Tensor:
    """Return the gradient of the bias."""
    shares = 16
    partial = grad.new_empty(shares, problem.filters)
    _bias(thread_count(), shares, (flat(grad.permute(0, 2, 3, 1)), flat(partial), shares, problem.filters))
    return torch.from_numpy(partial.numpy().sum(0))


def backward(
    grad: Tensor, input: Tensor, weight: Tensor, mask: Tensor, window: Window, groups: int, normalize: Normalize,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of input, weight, mask and bias; empty tensors for those that are not needed."""
    problem, channels_last = Problem.of(input, weight, window, groups, normalize), is_channels_last(input)
    grad, input = to_channels_last(grad), to_channels_last(input)
    grad_input, grad_weight, grad_mask, grad_bias = (grad.new_empty(0) for _ in range(4))
    if needed[0] or needed[2]:
        both = _backward_input(grad, input, weight, mask, problem)
        grad_input, grad_mask = (g if need else grad.new_empty(0) for g, need in zip(both, needed[::2], strict=True))
    if needed[1]:
        grad_weight = _backward_weight(grad, input, weight, mask, problem)
    if needed[3]:
        grad_bias = backward_bias(grad, problem)
    if needed[0] and not channels_last:
        grad_input = to_contiguous(grad_input)
    return grad_input, grad_weight, grad_mask, grad_bias
