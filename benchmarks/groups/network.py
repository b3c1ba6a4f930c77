"""DeepLab plain and segmentation-aware: time forward, and peak memory in fresh processes."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness.fresh import measure_fresh
from benchmarks.harness.measure import Goal, Samples, summarize
from benchmarks.harness.plan import Contender, Measurement, Settings, forward, time_in_turn
from segaware.models import DeepLabLargeFOV
from segaware.nn import EmbeddingNet

CLASSES = 21
PLAIN, GIVEN, WHOLE = "plain", "all layers, given embedding", "all layers, with EmbeddingNet"


def plan(
    settings: Settings, width: float = 1.0, side: int = 321, inference_side: int = 513, training_side: int = 321
) -> list[Measurement]:
    """Return the measurements: time of a forward pass, and peak memory of inference and of training steps."""
    time = f"DeepLab, {CLASSES} classes, {side}x{side}, forward"
    memory = (
        (f"peak memory of inference, {inference_side}x{inference_side}", inference, inference_side, 1.2),
        (f"peak memory of training steps, {training_side}x{training_side}", training_steps, training_side, 1.5),
    )
    return [
        Measurement(time, functools.partial(_time, settings, time, width, side)),
        *(Measurement(m[0], functools.partial(_peak, settings, width, *m)) for m in memory),
    ]


class _GivenEmbedding(nn.Module):
    """Stands for an embedding network, at no cost."""

    embedding: Tensor

    def __init__(self, side: int, batch: int, dim: int = 64) -> None:
        super().__init__()
        # It wants its gradient, as that of an embedding network does, but nothing of an optimiser.
        self.register_buffer("embedding", torch.randn(batch, dim, side, side).requires_grad_())

    def forward(self, image: Tensor) -> Tensor:
        return self.embedding


def deeplab(kind: str, width: float, side: int, batch: int = 1) -> DeepLabLargeFOV:
    """Return the network of a kind; a given embedding is that of a batch of images of this size."""
    if kind == PLAIN:
        return DeepLabLargeFOV(CLASSES, width)
    embedding = _GivenEmbedding(side, batch) if kind == GIVEN else EmbeddingNet(width)
    return DeepLabLargeFOV(CLASSES, width, segaware_layers="all", hardness=0.02, embedding=embedding)


def _time(settings: Settings, title: str, width: float, side: int) -> list[dict[str, Any]]:
    torch.manual_seed(settings.seed)
    image = torch.rand(1, 3, side, side)
    formats: dict[str, Any] = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    contenders: dict[str, Contender] = {}
    for kind in (GIVEN, PLAIN):
        network = deeplab(kind, width, side).eval()
        for name, memory_format in formats.items():
            # Not one network in both formats: converting moves its own weights.
            module = copy.deepcopy(network).to(memory_format=memory_format)  # type: ignore[call-overload]
            contenders[f"{kind}, {name}"] = forward(module, image.to(memory_format=memory_format))
    contenders["EmbeddingNet alone"] = forward(EmbeddingNet(width).eval(), image)
    ours, plain = (tuple(f"{kind}, {name}" for name in formats) for kind in (GIVEN, PLAIN))
    goal = Goal(ours, plain, limit=1.3)
    return [time_in_turn(settings, title, contenders, plain, [goal], same={ours[1]: 0})]


def inference(settings: Settings, kind: str, width: float, side: int) -> Contender:
    """Return one forward pass."""
    return forward(deeplab(kind, width, side).eval(), torch.rand(1, 3, side, side))


def training_steps(settings: Settings, kind: str, width: float, side: int) -> Contender:
    """Return two training steps: only the second has the optimiser's momentum beside everything else."""
    network = deeplab(kind, width, side).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    image, label = torch.rand(1, 3, side, side), torch.randint(CLASSES, (1, side, side))

    def run() -> None:
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(network(image), label).backward()
            optimizer.step()

    return run


def _peak(
    settings: Settings, width: float, title: str, task: Callable[..., Contender], side: int, limit: float
) -> list[dict[str, Any]]:
    kinds = (GIVEN, PLAIN, WHOLE) if settings.full else (GIVEN, PLAIN)
    peaks: dict[str, Samples | str] = {kind: Samples(first=None) for kind in kinds}
    increases: dict[str, Samples | str] = {kind: Samples(first=None) for kind in kinds}
    for _ in range(3 if settings.full else 1):
        for kind in kinds:
            values = measure_fresh(task, settings, seconds=None, kind=kind, width=width, side=side)
            for results, key in ((peaks, "peak"), (increases, "increase")):
                samples = results[kind]
                if isinstance(values, str):
                    results[kind] = values
                elif isinstance(samples, Samples):
                    samples.rounds.append(values[key])
    goals = [Goal((kind,), (PLAIN,), limit) for kind in kinds if kind != PLAIN]
    return [
        summarize(title, "MB", peaks, (PLAIN,), goals),
        summarize(f"{title}: increase over the state before the first call", "MB", increases, (PLAIN,)),
    ]
