"""Embedding distances beside unfold, and beside reading the embedding from memory."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.harness import operations
from benchmarks.harness.measure import Goal
from benchmarks.harness.plan import Measurement, Settings, forward, forward_backward, time_in_turn

_READ, _READ_FAR = "reading the embedding twice", "reading an embedding twice, from memory"
_FAR = "segaware, embedding from memory"
_COPIES = 24  # in turn, more than caches hold


@dataclass(frozen=True)
class Window:
    """A window over an image, how many times as fast as unfold it shall be, and how near to reading the embedding."""

    kernel_size: int
    side: int
    dilation: int
    faster: float
    reading: float | None = None
    channels: int = 64


WINDOWS = (Window(3, 321, 1, faster=50, reading=2), Window(9, 161, 1, faster=40), Window(13, 65, 9, faster=40))


def plan(settings: Settings, windows: Sequence[Window] = WINDOWS) -> list[Measurement]:
    """Return the measurements: each window forward, beside unfold, and forward and backward."""
    return [
        Measurement(title, functools.partial(_measure, settings, title, window))
        for window in windows
        for title in [
            f"{window.kernel_size}x{window.kernel_size}, dilation {window.dilation}, {window.channels} channels, "
            f"{window.side}x{window.side}"
        ]
    ]


def _measure(settings: Settings, title: str, window: Window) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(settings.seed)
    embedding = torch.randn(1, window.channels, window.side, window.side, generator=generator).requires_grad_()
    arguments = (embedding, window.kernel_size, window.dilation)
    contenders = {
        "segaware": forward(operations.distance, *arguments),
        "segaware, forward + backward": forward_backward(operations.distance, *arguments),
        "unfold": forward(settings.peer("unfold", "distance"), *arguments),
        _READ: forward(settings.peer("memory_read", "read_twice"), embedding),
    }
    ours = ("segaware",)
    goals = [Goal(ours, ("unfold",), window.faster, faster=True)]
    if window.reading is not None:
        copies = itertools.cycle([embedding.detach().clone() for _ in range(_COPIES)])
        read = settings.peer("memory_read", "read_two")
        contenders[_FAR] = forward(lambda: operations.distance(next(copies), *arguments[1:]))
        contenders[_READ_FAR] = read if isinstance(read, str) else forward(lambda: read(next(copies), next(copies)))
        goals.append(Goal((_FAR,), (_READ_FAR,), window.reading))
    return [time_in_turn(settings, title, contenders, (_READ,), goals, same={"unfold": 0})]
