"""Masked depthwise convolution beside cuDNN's plain one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu import card
from benchmarks.harness.measure import Goal, interleave, summarize
from benchmarks.harness.plan import Measurement, Settings, forward, forward_backward
from segaware.ops import segaware_conv2d
from segaware.tuning import gpu

_BATCH = 8
_CALLS = 10  # of a round
_LIMIT = 1.5


class Depthwise(NamedTuple):
    """A convolution of every channel on its own."""

    channels: int
    kernel_size: int
    side: int


# The first stage and the third of a ConvNeXt at 512x512, and a layer as MobileNets have.
SHAPES = (Depthwise(96, 7, 128), Depthwise(384, 7, 32), Depthwise(256, 3, 65))


def plan(settings: Settings, shapes: Sequence[Depthwise] = SHAPES) -> list[Measurement]:
    """Return the measurements: each shape forward and with its gradients, in bfloat16."""
    return [
        Measurement(title, functools.partial(_measure, settings, title, shape, backward))
        for shape in shapes
        for backward in (False, True)
        for title in [
            f"depthwise {shape.kernel_size}x{shape.kernel_size}, {shape.channels} channels, {shape.side}x{shape.side}, "
            f"batch {_BATCH}, bfloat16, {'forward + backward' if backward else 'forward'}"
        ]
    ]


def _measure(settings: Settings, title: str, shape: Depthwise, backward: bool) -> list[dict[str, Any]]:
    channels, taps, side = shape
    generator = torch.Generator().manual_seed(settings.seed)
    input = torch.randn(_BATCH, channels, side, side, generator=generator)
    weight = torch.randn(channels, 1, taps, taps, generator=generator)
    mask = torch.rand(_BATCH, taps**2, side, side, generator=generator)
    input, weight, mask = (t.to(gpu.DEVICE, torch.bfloat16).requires_grad_() for t in (input, weight, mask))
    input = input.detach().to(memory_format=torch.channels_last).requires_grad_()

    def ours(input: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        return segaware_conv2d(input, weight, mask, padding="same", groups=channels)

    def plain(input: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        return F.conv2d(input, weight, padding="same", groups=channels)

    call = forward_backward if backward else forward
    contenders = {
        "segaware": card.captured(call(ours, input, weight, mask)),
        "F.conv2d": card.captured(call(plain, input, weight, mask)),
    }
    results = interleave(contenders, settings.seconds, settings.seed, _CALLS, clock=gpu.clock)
    return [summarize(title, "ms", results, ("F.conv2d",), [Goal(("segaware",), ("F.conv2d",), _LIMIT)])]
