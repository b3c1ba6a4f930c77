"""Masked convolution beside cuDNN's plain one, unfold, and the floor that the card sets."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.gpu import card
from benchmarks.groups.layers import OURS, PLAIN, contenders, described
from benchmarks.harness.measure import Goal, Samples, interleave, summarize
from benchmarks.harness.plan import Measurement, Settings
from segaware.tuning import gpu
from segaware.tuning.gpu import DTYPES, Precision
from segaware.tuning.search import LAYERS, Layer

_WIDE = 64  # channels, from which on the goals beside plain convolution hold
_BATCH = 8  # images, for which they hold
# How long a layer may take beside plain convolution, forward and with gradients.
_LIMITS: dict[Precision, tuple[float, float]] = {"bfloat16": (1.25, 1.5), "TF32": (1.4, 1.4)}
_CALLS = 10  # of a round


def plan(settings: Settings, layers: Sequence[Layer] = LAYERS) -> list[Measurement]:
    """Return the measurements: time of each layer, forward and with its gradients, and the memory of both."""
    batches = (1, _BATCH, 32) if settings.full else (1, _BATCH)
    precisions: tuple[Precision, ...] = ("bfloat16", "TF32", "float32") if settings.full else ("bfloat16", "TF32")
    timed = [
        Measurement(title, functools.partial(_time, settings, title, layer, batch, precision, backward))
        for batch in batches
        for precision in precisions
        if settings.full or batch == _BATCH or precision == "bfloat16"
        for layer in layers
        for backward in (False, True)
        for title in [f"{described(layer, batch)}, {precision}, {'forward + backward' if backward else 'forward'}"]
    ]
    return timed + [
        Measurement(title, functools.partial(_memory, settings, title, layer))
        for layer in layers
        for title in [f"peak memory, {described(layer, _BATCH)}, bfloat16, forward + backward"]
    ]


def work(layer: Layer, batch: int, precision: Precision, backward: bool) -> tuple[float, float]:
    """Return the operations that a masked convolution cannot do without, and the bytes of its tensors, each once.

    Taps outside the image are no work. Forward and backward are three products; the gradients read what the output
    was made of again, and the gradient of the output.
    """
    seen = sum(max(0, layer.side - abs(tap) * layer.dilation) for tap in (-1, 0, 1)) ** 2
    operations = 2.0 * batch * seen * layer.inputs * layer.outputs
    pixels, bytes_each = batch * layer.side**2, DTYPES[precision].itemsize
    read = layer.inputs * pixels + 9 * layer.inputs * layer.outputs + 9 * pixels
    output = layer.outputs * pixels
    numbers = 3 * read + 2 * output if backward else read + output
    return (3 if backward else 1) * operations, float(numbers * bytes_each)


def _time(
    settings: Settings, title: str, layer: Layer, batch: int, precision: Precision, backward: bool
) -> list[dict[str, Any]]:
    with gpu.computing_in(precision):
        ceilings = card.ceilings()
        runs = contenders(settings, layer, batch, backward, gpu.DEVICE, DTYPES[precision])
        replays = {name: card.captured(run) for name, run in runs.items()}
        replays["segaware, channels_last, called from Python"] = runs[OURS[1]]
        same = {} if backward else {OURS[1]: 0, "unfold": 0}
        results = interleave(
            replays, settings.seconds, settings.seed, _CALLS, same, gpu.clock, card.TOLERANCES[precision]
        )
    operations, moved = work(layer, batch, precision, backward)
    floor = ceilings.seconds(precision, operations, moved)
    rounds = max((len(r.rounds) for r in results.values() if isinstance(r, Samples)), default=1)
    results[f"floor: {operations / 1e9:.3g} GFLOP, {moved / 1e6:.3g} MB"] = Samples(None, [floor] * rounds)
    goals = [Goal(OURS, ("unfold",), 5, faster=True)]
    if precision in _LIMITS and layer.inputs >= _WIDE and batch == _BATCH:
        goals.append(Goal(OURS, PLAIN, _LIMITS[precision][backward]))
    case = summarize(title, "ms", results, PLAIN, goals)
    return [case | {"operations": operations, "bytes": moved, "floor_ms": 1e3 * floor}]


def _memory(settings: Settings, title: str, layer: Layer) -> list[dict[str, Any]]:
    results: dict[str, Samples | str] = {}
    for name, run in contenders(settings, layer, _BATCH, True, gpu.DEVICE, torch.bfloat16).items():
        if isinstance(run, str):
            results[name] = run
            continue
        try:
            results[name] = Samples(None, [card.peak_megabytes(run)])
        except torch.cuda.OutOfMemoryError:
            results[name] = "out of memory"
    return [summarize(title, "MB", results, PLAIN, [Goal(OURS, ("unfold",), 5, faster=True)])]
