"""Time and peak memory against image side, window and embedding channels, each point in a fresh process."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import operations
from benchmarks.harness.fresh import measure_fresh
from benchmarks.harness.measure import Samples, summarize
from benchmarks.harness.plan import Contender, Measurement, Settings, forward
from segaware.ops import attention_mask

_UNFOLD_LIMIT = 8e9  # bytes
SWEEPS = {
    "side": (64, 128, 256, 512, 1024),
    "window": (3, 5, 7, 9, 11, 13, 15),
    "dim": (4, 8, 16, 32, 64, 128, 256),
}
LABELS = {
    "side": "image side [px] (3x3 convolution, 64 to 64 channels)",
    "window": "window side [px] (filter of 21 channels, 161x161)",
    "dim": "embedding channels (9x9 filter of 21 channels, 161x161)",
}


def plan(
    settings: Settings, sweeps: Mapping[str, Sequence[int]] = SWEEPS, side: int = 161, window: int = 9, dim: int = 64
) -> list[Measurement]:
    """Return one measurement per point; masks and their distances are part of what is measured."""
    points = []
    for sweep, values in sweeps.items():
        for x in values:
            sizes = {"side": side, "window": 3 if sweep == "side" else window, "dim": dim} | {sweep: x}
            points.append(Measurement(f"{sweep} {x}", functools.partial(_point, settings, sweep, x, sizes)))
    return points


def _point(settings: Settings, sweep: str, x: int, sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    task = convolution if sweep == "side" else bilateral_filter
    times: dict[str, Samples | str] = {}
    memory: dict[str, Samples | str] = {}
    titles = {"segaware": "segaware", "unfold": "unfold", "conv2d": "F.conv2d, no mask"}
    if sweep != "side":
        del titles["conv2d"]
    for contender, title in titles.items():
        # Columns, their difference and its absolute value.
        needed = 3 * 4 * sizes["window"] ** 2 * sizes["dim"] * sizes["side"] ** 2
        values: dict[str, Any] | str
        if contender == "unfold" and needed > _UNFOLD_LIMIT:
            values = f"not run: needs {needed / 1e9:.0f} GB"
        else:
            values = measure_fresh(task, settings, settings.seconds, contender=contender, **sizes)
        if isinstance(values, str):
            times[title] = memory[title] = values
        else:
            times[title] = Samples(values["first"], values["rounds"])
            memory[title] = Samples(None, [values["increase"]])
    point = {"sweep": sweep, "x": x}
    return [summarize(f"{sweep} {x}", unit, v, ()) | point for unit, v in (("ms", times), ("MB", memory))]


def convolution(settings: Settings, contender: str, side: int, window: int, dim: int) -> Contender:
    """Return a masked convolution with its distances and mask, or the plain convolution."""
    input, embedding = torch.randn(2, 1, dim, side, side)
    weight = torch.randn(dim, dim, window, window)
    if contender == "conv2d":
        return forward(settings.peer("conv2d", "convolution"), input, weight, None, 1)
    ours = contender == "segaware"
    distance = operations.distance if ours else settings.peer(contender, "distance")
    convolve = operations.convolution if ours else settings.peer(contender, "convolution")
    if isinstance(distance, str):
        return distance
    return forward(_masked_convolution, distance, convolve, embedding, input, weight)


def _masked_convolution(distance: Any, convolve: Any, embedding: Tensor, input: Tensor, weight: Tensor) -> Tensor:
    mask = attention_mask(distance(embedding, weight.shape[-1], 1), 2 / embedding.shape[1])
    output: Tensor = convolve(input, weight, mask, 1)
    return output


def bilateral_filter(settings: Settings, contender: str, side: int, window: int, dim: int) -> Contender:
    """Return a filter with its distances and mask."""
    ours = contender == "segaware"
    function = operations.bilateral_filter if ours else settings.peer(contender, "bilateral_filter")
    return forward(function, torch.randn(1, 21, side, side), torch.randn(1, dim, side, side), window, 2 / dim)
