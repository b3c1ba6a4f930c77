"""DeepLab plain and segmentation-aware on a GPU: a forward pass, a training step, and the memory of both."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.gpu import card
from benchmarks.groups.network import CLASSES, GIVEN, PLAIN, WHOLE, deeplab
from benchmarks.harness.measure import Goal, Samples, interleave, summarize
from benchmarks.harness.plan import Contender, Measurement, Settings
from segaware.tuning import gpu
from segaware.tuning.gpu import Precision

_BATCH = 8


def plan(settings: Settings, width: float = 1.0, sides: tuple[int, ...] = (321, 513)) -> list[Measurement]:
    """Return the measurements; the short form has the first side only, in bfloat16."""
    precisions: tuple[Precision, ...] = ("bfloat16", "TF32") if settings.full else ("bfloat16",)
    return [
        Measurement(title, functools.partial(_measure, settings, title, width, side, precision, training))
        for side in (sides if settings.full else sides[:1])
        for precision in precisions
        for training in (False, True)
        for title in [
            f"DeepLab, {CLASSES} classes, {side}x{side}, batch {_BATCH}, channels_last, "
            f"{'autocast to bfloat16' if precision == 'bfloat16' else precision}, "
            f"{'training step' if training else 'inference'}"
        ]
    ]


def _measure(
    settings: Settings, title: str, width: float, side: int, precision: Precision, training: bool
) -> list[dict[str, Any]]:
    with gpu.computing_in(precision):
        runs = {kind: _contender(settings, kind, width, side, precision, training) for kind in (GIVEN, PLAIN, WHOLE)}
        times = interleave(runs, settings.seconds, settings.seed, clock=gpu.clock)
        peaks: dict[str, Samples | str] = {}
        for kind, run in runs.items():
            assert not isinstance(run, str)
            time = times[kind]
            peaks[kind] = time if isinstance(time, str) else Samples(None, [card.peak_megabytes(run)])
    return [
        summarize(title, "ms", times, (PLAIN,), [Goal((GIVEN,), (PLAIN,), 1.6 if training else 1.3)]),
        summarize(f"{title}: peak memory above weights and inputs", "MB", peaks, (PLAIN,)),
    ]


def _contender(
    settings: Settings, kind: str, width: float, side: int, precision: Precision, training: bool
) -> Contender:
    torch.manual_seed(settings.seed)
    network = deeplab(kind, width, side, _BATCH).to(gpu.DEVICE).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if kind == GIVEN:  # the copy of a tensor that wants a gradient would pass it on, across devices and formats
        given = network.embedding
        assert given is not None
        given.embedding = given.embedding.detach().requires_grad_()
    network.train(training)
    image = torch.rand(_BATCH, 3, side, side).to(gpu.DEVICE, memory_format=torch.channels_last)
    label = torch.randint(CLASSES, (_BATCH, side, side)).to(gpu.DEVICE)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)

    def predict() -> Any:
        with torch.autocast(gpu.DEVICE, torch.bfloat16, enabled=precision == "bfloat16"):
            return network(image)

    def infer() -> Any:
        with torch.no_grad():
            return predict()

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(predict().float(), label).backward()
        optimizer.step()

    return step if training else infer
