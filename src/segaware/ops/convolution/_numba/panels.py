"""Weights in the panels that a tile is multiplied with, and back from sums in that order."""

from __future__ import annotations

import torch
from torch import Tensor

from segaware.ops._layout import row_starts
from segaware.ops._parallel import flat, jit, kernel, parallel_for, thread_count
from segaware.ops._tile import add, panel_width, transpose
from segaware.ops.arguments import is_channels_last
from segaware.ops.convolution._numba.columns import Problem


@jit
def _filter_panels_task(task, thread, weight, panels, group_filters, length, places, rows, panel):
    lanes = rows.size
    group_panels = (group_filters + panel - 1) // panel
    p = task % group_panels
    first = (task // group_panels * group_filters + p * panel) * length
    wide = min(panel, group_filters - p * panel)
    base = task * length * panel
    whole = length // lanes * lanes if wide == panel else 0
    for i in range(0, whole, lanes):
        for r in range(0, panel, lanes):
            transpose(panels, base + r, places[i : i + lanes], weight, first + r * length + i, rows)
    for r in range(panel):
        for i in range(whole, length):
            panels[base + places[i] + r] = weight[first + r * length + i] if r < wide else 0


@kernel
def _filter_panels(threads, tasks, arguments):
    parallel_for(_filter_panels_task, threads, tasks, arguments)


def filter_panels(weight: Tensor, problem: Problem) -> Tensor:
    """Copy the weights to [group][panel of filters][tap][channel][filter]; 0 beyond a group's last filter."""
    panel, length = panel_width(weight.element_size()), problem.taps * problem.group_channels
    tasks = problem.groups * -(-problem.group_filters // panel)
    panels = weight.new_empty(tasks * length * panel)
    rows = row_starts(weight, length)
    weight, places = in_memory_order(weight, problem, panel)
    arguments = (flat(weight), flat(panels), problem.group_filters, length, flat(places), rows, panel)
    _filter_panels(thread_count(), tasks, arguments)
    return panels


def in_memory_order(weight: Tensor, problem: Problem, step: int) -> tuple[Tensor, Tensor]:
    """Return the weight without gaps, and where in [tap][channel], `step` apart, each value of a filter belongs."""
    places = torch.arange(problem.taps * problem.group_channels) * step
    if is_channels_last(weight):
        return weight.permute(0, 2, 3, 1), places
    return weight, places.view(problem.taps, problem.group_channels).t().reshape(-1)


@jit
def _channel_panels_task(task, thread, weight, panels, problem, channel_step, tap_step, panel):
    channels, taps, filters = problem.group_channels, problem.taps, problem.group_filters
    group_panels = (channels + panel - 1) // panel
    group, place = task // group_panels, task % group_panels * panel
    wide = min(panel, channels - place)
    for o in range(filters):
        row = (group * filters + o) * channels * taps + place * channel_step
        for c in range(panel):
            for k in range(taps):
                value = weight[row + c * channel_step + k * tap_step] if c < wide else 0
                panels[((task * taps + k) * filters + o) * panel + c] = value


@kernel
def _channel_panels(threads, tasks, arguments):
    parallel_for(_channel_panels_task, threads, tasks, arguments)


def channel_panels(weight: Tensor, problem: Problem) -> Tensor:
    """Copy the weights to [group][panel of channels][tap][filter][channel]; 0 beyond a group's last channel."""
    panel = panel_width(weight.element_size())
    tasks = problem.groups * -(-problem.group_channels // panel)
    panels = weight.new_empty(tasks * problem.taps * problem.group_filters * panel)
    steps = (1, problem.group_channels) if is_channels_last(weight) else (problem.taps, 1)
    weight, _ = in_memory_order(weight, problem, 1)
    _channel_panels(thread_count(), tasks, (flat(weight), flat(panels), problem, *steps, panel))
    return panels


@jit
def _filters_task(task, thread, partial, result, shares, problem, places, rows):
    """Add up the shares of one vector of filters, in order, and write them as the weight is."""
    lanes, filters = rows.size, problem.group_filters
    length = problem.taps * problem.group_channels
    vectors = (filters + lanes - 1) // lanes
    group, first = task // vectors, task % vectors * lanes
    wide = min(lanes, filters - first)
    start = group * length * filters + first
    for i in range(length):
        place = start + i * filters
        for share in range(1, shares):
            add(partial, place, partial, place, partial, share * result.size + place, wide)
    to = (group * filters + first) * length
    whole = length // lanes * lanes if wide == lanes else 0
    for i in range(0, whole, lanes):
        transpose(result, to + i, rows, partial, start, places[i : i + lanes])
    for r in range(wide):
        for i in range(whole, length):
            result[to + r * length + i] = partial[start + places[i] + r]


@kernel
def _filters(threads, tasks, arguments):
    parallel_for(_filters_task, threads, tasks, arguments)


def filters_from_shares(partial: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Sum weights [share][group][tap][channel][filter] over the shares, into the shape and format of `weight`."""
    rows = row_starts(weight, problem.taps * problem.group_channels)
    _, places = in_memory_order(weight, problem, problem.group_filters)
    result = torch.empty_like(
        weight, memory_format=torch.preserve_format if is_channels_last(weight) else torch.contiguous_format
    )
    in_memory = in_memory_order(result, problem, 1)[0]
    tasks = problem.groups * -(-problem.group_filters // rows.size)
    _filters(thread_count(), tasks, (flat(partial), flat(in_memory), partial.shape[0], problem, flat(places), rows))
    return result
