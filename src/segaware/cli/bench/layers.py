"""Masked convolution beside plain convolution, at the sizes of DeepLab's layers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from segaware.cli.bench import operations
from segaware.cli.bench.measure import Goal
from segaware.cli.bench.plan import Contender, Measurement, Settings, forward, forward_backward, time_in_turn

_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_OURS = tuple(f"segaware, {name}" for name in _FORMATS)
_PLAIN = tuple(f"F.conv2d, {name}" for name in _FORMATS)


@dataclass(frozen=True)
class Layer:
    """A 3x3 layer, and how long it may take beside plain convolution."""

    name: str
    inputs: int
    outputs: int
    side: int
    dilation: int
    forward: float
    forward_backward: float


LAYERS = (
    Layer("conv1_2", 64, 64, 321, 1, forward=1.25, forward_backward=1.5),
    Layer("conv2_2", 128, 128, 161, 1, forward=1.25, forward_backward=1.5),
    Layer("conv3_3", 256, 256, 81, 1, forward=1.25, forward_backward=1.5),
    Layer("conv5_3", 512, 512, 41, 2, forward=1.2, forward_backward=1.5),
    Layer("fc6", 512, 1024, 41, 12, forward=1.15, forward_backward=1.4),
)


def plan(settings: Settings, layers: Sequence[Layer] = LAYERS) -> list[Measurement]:
    """Return the measurements: each layer forward, and forward and backward; the long form also in batches of 4."""
    return [
        Measurement(title, functools.partial(_measure, settings, title, layer, batch, backward))
        for batch in ((1, 4) if settings.full else (1,))
        for layer in layers
        for backward in (False, True)
        for title in [
            f"{layer.name}: {layer.inputs} to {layer.outputs} channels, {layer.side}x{layer.side}, dilation "
            f"{layer.dilation}, batch {batch}, {'forward + backward' if backward else 'forward'}"
        ]
    ]


def _measure(settings: Settings, title: str, layer: Layer, batch: int, backward: bool) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(settings.seed)
    input = torch.randn(batch, layer.inputs, layer.side, layer.side, generator=generator)
    weight = torch.randn(layer.outputs, layer.inputs, 3, 3, generator=generator) / (9 * layer.inputs) ** 0.5
    mask = torch.rand(batch, 9, layer.side, layer.side, generator=generator).requires_grad_()
    call = forward_backward if backward else forward

    def contender(function: Any, memory_format: torch.memory_format) -> Contender:
        tensors = [x.to(memory_format=memory_format, copy=True).requires_grad_() for x in (input, weight)]
        return call(function, *tensors, mask, layer.dilation)

    plain, unfold = (settings.peer(name, "convolution") for name in ("conv2d", "unfold"))
    contenders = {}
    for name, memory_format in _FORMATS.items():
        contenders[f"segaware, {name}"] = contender(operations.convolution, memory_format)
        contenders[f"F.conv2d, {name}"] = contender(plain, memory_format)
    contenders["unfold"] = contender(unfold, torch.contiguous_format)
    goal = Goal(of=_OURS, to=_PLAIN, limit=layer.forward_backward if backward else layer.forward)
    same = {} if backward else {_OURS[1]: 0, "unfold": 0}
    return [time_in_turn(settings, title, contenders, _PLAIN, [goal], same=same)]
