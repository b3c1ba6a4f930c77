"""What one call costs where the image is too small to matter, and what the first call costs."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import torch

from benchmarks.harness.measure import Samples, summarize
from benchmarks.harness.plan import (
    CPU_BACKENDS,
    Contender,
    Measurement,
    Settings,
    forward,
    forward_backward,
    time_in_turn,
)
from segaware.ops import embedding_distance, segaware_conv2d, segaware_filter2d


def plan(settings: Settings, side: int = 32, channels: int = 8, calls: int = 20) -> list[Measurement]:
    """Return the measurements: every operator with every backend beside plain convolution, and in full first calls."""
    first = "first forward and backward in a fresh process"
    compiling = [Measurement(first, functools.partial(_first_calls, first))] if settings.full else []
    return compiling + [
        Measurement(title, functools.partial(_measure, settings, title, side, channels, calls, backward))
        for backward in (False, True)
        for title in [
            f"3x3, {channels} channels, {side}x{side}, {'forward + backward' if backward else 'forward'}, one call"
        ]
    ]


def _measure(
    settings: Settings, title: str, side: int, channels: int, calls: int, backward: bool
) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(settings.seed)
    input, weight, mask = (
        torch.rand(*shape, generator=generator).requires_grad_()
        for shape in ((1, channels, side, side), (channels, channels, 3, 3), (1, 9, side, side))
    )
    call = forward_backward if backward else forward
    contenders: dict[str, Contender] = {
        "F.conv2d": call(settings.peer("conv2d", "convolution"), input, weight, mask, 1),
    }
    for backend in CPU_BACKENDS:
        convolution = functools.partial(segaware_conv2d, padding="same", backend=backend)
        distance = functools.partial(embedding_distance, kernel_size=3, padding="same", backend=backend)
        bilateral = functools.partial(segaware_filter2d, kernel_size=3, backend=backend)
        contenders |= {
            f"segaware_conv2d, {backend}": call(convolution, input, weight, mask),
            f"embedding_distance, {backend}": call(distance, input),
            f"segaware_filter2d, {backend}": call(bilateral, input, mask),
        }
    return [time_in_turn(settings, title, contenders, ("F.conv2d",), unit="us", calls=calls)]


_FIRST_CALLS = """
import json, time, torch, segaware
image, mask = torch.rand(1, 8, 32, 32).requires_grad_(), torch.rand(1, 9, 32, 32).requires_grad_()
calls = {
    "importing Numba": lambda: __import__("numba"),
    "embedding_distance": lambda: segaware.embedding_distance(image, 3, padding=1).sum().backward(),
    "segaware_conv2d": lambda: segaware.segaware_conv2d(image, image[:, :, :3, :3], mask, padding=1).sum().backward(),
    "segaware_filter2d": lambda: segaware.segaware_filter2d(image, mask, 3).sum().backward(),
}
times = {}
for title, call in calls.items():
    start = time.perf_counter()
    call()
    times[title] = time.perf_counter() - start
print(json.dumps(times))
"""


def _first_calls(title: str) -> list[dict[str, Any]]:
    results: dict[str, Samples | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for state in ("nothing compiled yet", "compiled before"):
            command = [sys.executable, "-c", _FIRST_CALLS]
            done = subprocess.run(
                command, env={**os.environ, "NUMBA_CACHE_DIR": folder}, capture_output=True, text=True, check=True
            )
            for name, seconds in json.loads(done.stdout).items():
                results[f"{name}, {state}"] = Samples(None, [seconds])
    return [summarize(title, "ms", results, ())]
