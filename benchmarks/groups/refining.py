"""`segaware.refine` as a whole beside pydensecrf, on one photograph with coarse scores of three of many classes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness.measure import Goal
from benchmarks.harness.plan import Contender, Measurement, Settings, forward, time_in_turn
from segaware import refine
from segaware.data import photograph, read_image
from segaware.data.coarse_scores import COARSE_STRIDE, coarse_scores
from segaware.nn import load_embedding, upsample

CLASSES_ALONE, ALL, DENSE = "filter, classes alone", "filter, all scores", "dense CRF"
PEER = "pydensecrf, 10 iterations"


def plan(settings: Settings, height: int = 375, width: int = 500, classes: int = 21) -> list[Measurement]:
    """Return the measurements: methods beside pydensecrf, to classes; many classes; the embeddings alone."""
    title = f"{height}x{width}, {classes} classes at stride {COARSE_STRIDE}, embedding included"
    many = "512x512, scores of 128x128, classes alone"
    alone = f"Embedding of {height}x{width} alone, at stride 1"
    return [
        Measurement(title, functools.partial(_time, settings, title, height, width, classes)),
        Measurement(many, functools.partial(_time_many, settings, many)),
        Measurement(alone, functools.partial(_embed, settings, alone, height, width)),
    ]


def _embed(settings: Settings, title: str, height: int, width: int) -> list[dict[str, Any]]:
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(settings.seed))
    contenders = {name: forward(load_embedding(name), image) for name in ("fast", "vgg")}
    return [time_in_turn(settings, title, contenders, ("vgg",), [Goal(("fast",), ("vgg",), 10.0, True)])]


def _time(settings: Settings, title: str, height: int, width: int, classes: int) -> list[dict[str, Any]]:
    image = np.array(Image.fromarray(read_image(photograph())).resize((width, height), Image.Resampling.BICUBIC))
    scores = coarse_scene(settings.seed, height, width, classes)
    contenders: dict[str, Contender] = {
        CLASSES_ALONE: lambda: refine(image, scores, classify=True),
        ALL: lambda: refine(image, scores).argmax(0),
        DENSE: lambda: refine(image, scores, "dense_crf", classify=True),
        PEER: _peer(settings.peer("pydensecrf_crf", "dense_crf"), image, scores),
    }
    goals = [Goal((CLASSES_ALONE,), (PEER,), 4.0, True)]
    return [time_in_turn(settings, title, contenders, (PEER,), goals)]


def _time_many(settings: Settings, title: str) -> list[dict[str, Any]]:
    """Compare 150 classes with 21, of scores that are peaked on one of eight classes per place."""
    image = np.array(Image.fromarray(read_image(photograph())).resize((512, 512), Image.Resampling.BICUBIC))
    few, many = "21 classes", "150 classes"
    contenders: dict[str, Contender] = {
        name: functools.partial(refine, image, _peaked_scores(settings, classes), classify=True)
        for name, classes in ((few, 21), (many, 150))
    }
    return [time_in_turn(settings, title, contenders, (few,), [Goal((many,), (few,), 1 / 1.5, True)])]


def _peaked_scores(settings: Settings, classes: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(settings.seed)
    blocks = torch.randint(8, (8, 8), generator=generator) * (classes // 8)
    label = blocks.repeat_interleave(16, 0).repeat_interleave(16, 1)
    scores = F.avg_pool2d(9 * torch.randn(1, classes, 128, 128, generator=generator), 9, 1, 4)[0]
    return scores.scatter_add(0, label[None], torch.full((1, 128, 128), 9.0)).numpy()


def coarse_scene(seed: int, height: int, width: int, classes: int) -> np.ndarray:
    """Return scores of a network that sees two objects before a ground, (C, h, w)."""
    label = torch.zeros(1, height, width, dtype=torch.int64)
    label[:, height // 4 : -height // 6, width // 4 : width // 2] = classes - 1
    label[:, height // 3 :, -width // 5 :] = classes // 2
    generator = torch.Generator().manual_seed(seed)
    return coarse_scores(label, classes, generator=generator)[0].numpy()


def _peer(function: Callable[..., Tensor] | str, image: np.ndarray, scores: np.ndarray) -> Contender:
    """Return what a user of pydensecrf does with coarse scores."""
    if isinstance(function, str):
        return function
    coarse, pixels = torch.from_numpy(scores)[None], torch.from_numpy(image).permute(2, 0, 1)

    def run() -> Tensor:
        full = upsample(coarse, COARSE_STRIDE, (image.shape[0], image.shape[1]))
        return function(full.log_softmax(1)[0], pixels).argmax(0)

    return run
