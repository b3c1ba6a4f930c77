"""The card's ceilings; distances beside their floor, filters beside attention, and the CRF."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.gpu import card
from benchmarks.groups.distance import WINDOWS, Window
from benchmarks.harness import operations
from benchmarks.harness.measure import Goal, Samples, interleave, summarize
from benchmarks.harness.plan import Measurement, Settings, forward, forward_backward
from segaware.nn import SegAwareCRF
from segaware.tuning import gpu
from segaware.tuning.gpu import DTYPES, Precision

_BATCH = 8
_CALLS = 10  # of a round
_CRF_SECONDS = 0.5e-3
_CLASSES = 21
_LAST = "segaware, channels_last"  # as networks have their embeddings


def ceilings_plan(settings: Settings) -> list[Measurement]:
    """Return the measurement of what the card can do at best."""
    return [Measurement("ceilings of the card", _ceilings)]


def plan(
    settings: Settings, windows: Sequence[Window] = WINDOWS, kernel_size: int = 9, side: int = 161, crf_side: int = 65
) -> list[Measurement]:
    """Return the measurements of distances, filter and CRF."""
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    distances = [
        Measurement(title, functools.partial(_distance, settings, title, window, precision))
        for window in windows
        for precision in precisions
        for title in [
            f"distances, {window.kernel_size}x{window.kernel_size}, dilation {window.dilation}, {window.channels} "
            f"channels, {window.side}x{window.side}, batch {_BATCH}, {precision}"
        ]
    ]
    attention = f"means over {kernel_size}x{kernel_size} windows, {side}x{side}, 64 channels, batch {_BATCH}, bfloat16"
    crf = f"SegAwareCRF, {_CLASSES} classes, {crf_side}x{crf_side}, batch {_BATCH}, distances of 64 channels included"
    return [
        *distances,
        Measurement(attention, functools.partial(_attention, settings, attention, kernel_size, side)),
        Measurement(crf, functools.partial(_crf, settings, crf, crf_side)),
    ]


def _ceilings() -> list[dict[str, Any]]:
    measured = card.ceilings()
    copy: dict[str, Samples | str] = {"a large copy, read and written": Samples(None, [measured.bandwidth / 1e9])}
    products: dict[str, Samples | str] = {
        f"a large product, {precision}": Samples(None, [rate / 1e12]) for precision, rate in measured.operations.items()
    }
    title = "ceilings of the card"
    return [summarize(f"{title}: memory", "GB/s", copy, ()), summarize(f"{title}: arithmetic", "TFLOP/s", products, ())]


def _random(settings: Settings, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(settings.seed)).to(gpu.DEVICE, dtype)


def _distance(settings: Settings, title: str, window: Window, precision: Precision) -> list[dict[str, Any]]:
    side, dtype = window.side, DTYPES[precision]
    embedding = _random(settings, _BATCH, window.channels, side, side, dtype=dtype)
    arguments = (embedding.requires_grad_(), window.kernel_size, window.dilation)
    last = embedding.detach().to(memory_format=torch.channels_last).requires_grad_(), *arguments[1:]
    contenders = {
        "segaware": card.captured(forward(operations.distance, *arguments)),
        "segaware, forward + backward": card.captured(forward_backward(operations.distance, *arguments)),
        _LAST: card.captured(forward(operations.distance, *last)),
        f"{_LAST}, forward + backward": card.captured(forward_backward(operations.distance, *last)),
        "unfold": card.captured(forward(settings.peer("unfold", "distance"), *arguments)),
    }
    results = interleave(
        contenders, settings.seconds, settings.seed, _CALLS, {"unfold": 0}, gpu.clock, card.TOLERANCES[precision]
    )
    moved = _BATCH * side**2 * (window.channels + window.kernel_size**2) * dtype.itemsize
    floor = f"floor: the embedding and its distances once, {moved / 1e6:.3g} MB"
    results[floor] = Samples(None, [moved / card.ceilings().bandwidth] * 100)
    goals = [
        Goal((_LAST,), (floor,), 2),
        Goal((f"{_LAST}, forward + backward",), (floor,), 4),
        Goal((_LAST,), ("unfold",), 5, faster=True),
    ]
    return [summarize(title, "ms", results, (floor,), goals)]


def _attention(settings: Settings, title: str, kernel_size: int, side: int) -> list[dict[str, Any]]:
    embedding, input = (_random(settings, _BATCH, 64, side, side, dtype=torch.bfloat16) for _ in range(2))
    attention = settings.peer("natten_attention", "attention")
    contenders = {
        "segaware: distances, mask and filter": card.captured(
            forward(operations.bilateral_filter, input, embedding, kernel_size, 2 / 64)
        ),
        "NATTEN: dot products, softmax and sum": card.captured(forward(attention, embedding, input, kernel_size)),
    }
    results = interleave(contenders, settings.seconds, settings.seed, _CALLS, clock=gpu.clock)
    return [summarize(title, "ms", results, tuple(contenders)[1:])]


def _crf(settings: Settings, title: str, side: int) -> list[dict[str, Any]]:
    crf = SegAwareCRF(_CLASSES).to(gpu.DEVICE)
    run = forward(crf, _random(settings, _BATCH, _CLASSES, side, side), _random(settings, _BATCH, 64, side, side))
    contenders = {"segaware": card.captured(run), "segaware, called from Python": run}
    results = interleave(contenders, settings.seconds, settings.seed, _CALLS, clock=gpu.clock)
    limit = f"{1e3 * _CRF_SECONDS:g} ms"
    results[limit] = Samples(None, [_CRF_SECONDS] * 100)
    return [summarize(title, "ms", results, (limit,), [Goal(("segaware",), (limit,), 1)])]
