"""The CRFs and the repeated filter beside pydensecrf, on one photograph with random scores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness.fresh import measure_fresh
from benchmarks.harness.measure import Goal, Samples, summarize
from benchmarks.harness.plan import Contender, Measurement, Settings, forward, time_in_turn
from segaware.data import photograph, read_image
from segaware.nn import BilateralFilter2d, SegAwareCRF, dense_crf, upsample

_PEER = "pydensecrf, 10 iterations"


def plan(
    settings: Settings, height: int = 375, width: int = 500, classes: int = 21, dim: int = 64
) -> list[Measurement]:
    """Return the measurements: time of every method beside pydensecrf, and its memory."""
    sizes = {"height": height, "width": width, "classes": classes, "dim": dim}
    size = f"{height}x{width}, {classes} classes"
    half = f"at half of {size}, distances of a {dim}-channel embedding included"
    cases = (
        (f"Dense CRF, 10 iterations, {size}", "dense", 1.0, False),
        (f"Segmentation-aware CRF, 2 iterations, {half}", "local", 10.0, True),
        (f"9x9 filter x4, {half}", "filters", 10.0, True),
    )
    timed = [Measurement(case[0], functools.partial(_time, settings, *case, sizes)) for case in cases]
    title = f"Peak memory above inputs and libraries, {size}"
    return [*timed, Measurement(title, functools.partial(_memory, settings, title, sizes))]


def _time(
    settings: Settings, title: str, method: str, limit: float, faster: bool, sizes: dict[str, int]
) -> list[dict[str, Any]]:
    contenders = {"segaware": contender(settings, method, **sizes), _PEER: contender(settings, "peer", **sizes)}
    goal = Goal(("segaware",), (_PEER,), limit, faster)
    same = {_PEER: 0} if method == "dense" else {}
    return [time_in_turn(settings, title, contenders, (_PEER,), [goal], same=same)]


def _memory(settings: Settings, title: str, sizes: dict[str, int]) -> list[dict[str, Any]]:
    height, width, classes, dim = sizes.values()
    scores, image = 4e-6 * classes * height * width, 3e-6 * height * width
    half = 1e-6 * ((height + 1) // 2) * ((width + 1) // 2)
    inputs = {"dense": scores + image, "peer": scores + image, "local": 4 * (classes + dim) * half}
    inputs["filters"] = inputs["local"]
    names = {
        "dense": "dense CRF",
        "local": "segmentation-aware CRF",
        "filters": "9x9 filter x4",
        "peer": "pydensecrf",
    }
    rows: dict[str, Samples | str] = {}
    for method, name in names.items():
        values = measure_fresh(warm_contender, settings, settings.seconds, method=method, **sizes)
        row = f"{name} (inputs {inputs[method]:.1f} MB)"
        rows[row] = values if isinstance(values, str) else Samples(None, [values["increase"]])
    return [summarize(title, "MB", rows, ())]


def warm_contender(settings: Settings, method: str, height: int, width: int, classes: int, dim: int) -> Contender:
    """Return a method that has run on a small image, so that the memory of its code is not counted."""
    small = contender(settings, method, 24, 30, classes, dim)
    if not isinstance(small, str):
        small()
    return contender(settings, method, height, width, classes, dim)


def contender(settings: Settings, method: str, height: int, width: int, classes: int, dim: int) -> Contender:
    """Return a method with its inputs: "dense", "local", "filters" or "peer"."""
    generator = torch.Generator().manual_seed(settings.seed)
    scores = 3 * torch.randn(1, classes, -(-height // 8), -(-width // 8), generator=generator)
    if method in ("dense", "peer"):
        log_probabilities = upsample(scores, 8, (height, width)).log_softmax(1)[0]
        pixels = torch.from_numpy(read_image(photograph())).permute(2, 0, 1)
        image = F.interpolate(pixels[None].float(), (height, width), mode="bilinear")[0].round().to(torch.uint8)
        function: Callable[..., Tensor] | str = dense_crf
        if method == "peer":
            function = settings.peer("pydensecrf_crf", "dense_crf")
        return forward(function, log_probabilities, image)
    half = (-(-height // 2), -(-width // 2))
    embedding = torch.randn(1, dim, *half, generator=generator)
    # The hardness makes an average neighbour count exp(-2).
    module = SegAwareCRF(classes, hardness=2 / dim) if method == "local" else BilateralFilter2d(9, 1, 4, 2 / dim)
    return forward(module, upsample(scores, 4, half), embedding)
