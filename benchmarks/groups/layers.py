"""Masked convolution beside plain convolution, at the sizes of DeepLab's layers."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmarks.harness import operations
from benchmarks.harness.measure import Goal
from benchmarks.harness.plan import Contender, Measurement, Settings, forward, forward_backward, time_in_turn
from segaware.tuning.search import LAYERS, Layer, random_tensors

_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
OURS = tuple(f"segaware, {name}" for name in _FORMATS)
PLAIN = tuple(f"F.conv2d, {name}" for name in _FORMATS)


# How long each layer may take beside plain convolution: forward, and forward and backward.
LIMITS = {
    "conv1_2": (1.25, 1.5),
    "conv2_2": (1.25, 1.5),
    "conv3_3": (1.25, 1.5),
    "conv5_3": (1.2, 1.5),
    "fc6": (1.15, 1.4),
}


def plan(
    settings: Settings, layers: Sequence[Layer] = LAYERS, limits: Mapping[str, tuple[float, float]] = LIMITS
) -> list[Measurement]:
    """Return the measurements: each layer forward, and forward and backward; the long form also in batches of 4."""
    return [
        Measurement(
            title, functools.partial(_measure, settings, title, layer, batch, backward, limits[layer.name][backward])
        )
        for batch in ((1, 4) if settings.full else (1,))
        for layer in layers
        for backward in (False, True)
        for title in [f"{described(layer, batch)}, {'forward + backward' if backward else 'forward'}"]
    ]


def described(layer: Layer, batch: int) -> str:
    """Return what a layer is called in titles."""
    return (
        f"{layer.name}: {layer.inputs} to {layer.outputs} channels, {layer.side}x{layer.side}, dilation "
        f"{layer.dilation}, batch {batch}"
    )


def contenders(
    settings: Settings,
    layer: Layer,
    batch: int,
    backward: bool,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, Contender]:
    """Return our convolution and plain ones in both memory formats, and unfold, with random inputs."""
    input, weight, mask = (x.to(device, dtype) for x in random_tensors(layer, batch, settings.seed))
    mask.requires_grad_()
    call = forward_backward if backward else forward

    def contender(function: Any, memory_format: torch.memory_format) -> Contender:
        tensors = [x.to(memory_format=memory_format, copy=True).requires_grad_() for x in (input, weight)]
        return call(function, *tensors, mask, layer.dilation)

    plain, unfold = (settings.peer(name, "convolution") for name in ("conv2d", "unfold"))
    result = {}
    for name, memory_format in _FORMATS.items():
        result[f"segaware, {name}"] = contender(operations.convolution, memory_format)
        result[f"F.conv2d, {name}"] = contender(plain, memory_format)
    result["unfold"] = contender(unfold, torch.contiguous_format)
    return result


def _measure(
    settings: Settings, title: str, layer: Layer, batch: int, backward: bool, limit: float
) -> list[dict[str, Any]]:
    same = {} if backward else {OURS[1]: 0, "unfold": 0}
    runs = contenders(settings, layer, batch, backward)
    return [time_in_turn(settings, title, runs, PLAIN, [Goal(OURS, PLAIN, limit)], same=same)]
