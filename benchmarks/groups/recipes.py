"""The recipes' networks with each backend: what one training step and one image cost."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.harness.measure import Contenders
from benchmarks.harness.plan import CPU_BACKENDS, Measurement, Settings, time_in_turn
from segaware import use_backend
from segaware.ops._backends import Backend
from segaware.recipes.files import load_recipe
from segaware.recipes.segmentation import SegmentationRecipe

NAMES = (
    *("camvid/baseline", "camvid/filter", "camvid/fc6", "camvid/all", "camvid/all_filter"),
    *("demo/baseline", "demo/segaware"),
)
_PLAIN = "no mask"


def plan(settings: Settings, names: Sequence[str] = NAMES, overrides: Sequence[str] = ()) -> list[Measurement]:
    """Return the measurements: each recipe's network, untrained, on random images of its training crops."""
    return [Measurement(name, functools.partial(_measure, settings, name, overrides)) for name in names]


def _measure(settings: Settings, name: str, overrides: Sequence[str]) -> list[dict[str, Any]]:
    from segaware.experiments.build import build_network
    from segaware.experiments.tasks.segmentation.task import num_classes  # which imports Lightning, for seconds

    torch.manual_seed(settings.seed)
    recipe = load_recipe(name, overrides)
    assert isinstance(recipe, SegmentationRecipe)
    network, classes = build_network(recipe), num_classes(recipe)
    size, batch = tuple(recipe.data.crop), recipe.data.batch_size
    images, labels = torch.rand(batch, 3, *size), torch.randint(classes, (batch, *size))

    def train() -> None:
        network.train().zero_grad()
        F.cross_entropy(network(images), labels).backward()

    def predict() -> torch.Tensor:
        with torch.no_grad():
            output: torch.Tensor = network.eval()(images[:1])
        return output

    shape = f"{size[0]}x{size[1]}"
    return [
        time_in_turn(settings, f"{name}, {shape}, {title}", _with_backends(recipe, run), ("reference", _PLAIN))
        for title, run in ((f"training step, batch of {batch}", train), ("one image", predict))
    ]


def _with_backends(recipe: SegmentationRecipe, run: Callable[[], Any]) -> Contenders:
    def choose(backend: Backend) -> Any:
        with use_backend(backend):
            return run()

    if recipe.embedding is None:
        return {_PLAIN: run}
    return {backend: functools.partial(choose, backend) for backend in CPU_BACKENDS}
