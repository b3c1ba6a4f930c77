"""A task that is not ours: depth regression on generated scenes, by what is public alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from segaware.experiments.tasks import ImageScores, Task
from segaware.experiments.tasks.networks import optimization
from segaware.metrics import paired_bootstrap
from segaware.nn import BilateralFilter2d, ColorEmbedding
from segaware.recipes.schema import Recipe, Start
from segaware.training import Stage


class DepthSample(NamedTuple):
    image: Tensor
    depth: Tensor
    name: str


class Slopes(Dataset[DepthSample]):
    """Noisy pictures of planes, as bright as they are far."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed = length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> DepthSample:
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        across, down = (torch.linspace(0, 1, 24) * torch.rand((), generator=generator) for _ in "xy")
        depth = across + down[:, None]
        noise = torch.rand(3, 24, 24, generator=generator) / 10
        return DepthSample(depth.expand(3, 24, 24) / 2 + noise, depth, f"{index}")


class DepthRecipe(Recipe):
    stage: Literal["depth"]
    filtered: bool
    start: Start


class DepthNet(nn.Module):
    def __init__(self, filtered: bool) -> None:
        super().__init__()
        self.layer, self.embedding = nn.Conv2d(3, 1, 3, padding=1), ColorEmbedding()
        self.filter = BilateralFilter2d(5) if filtered else None

    def forward(self, image: Tensor) -> Tensor:
        depth = self.layer(image)
        return (depth if self.filter is None else self.filter(depth, self.embedding(image)))[:, 0]


class DepthStage(Stage):
    sample_type = DepthSample

    def loss(self, sample: DepthSample) -> Tensor:  # type: ignore[override]
        return (self.network(sample.image) - sample.depth).abs().mean()

    def validation_step(self, batch: DepthSample, batch_idx: int) -> None:
        self.log("val/error", self.loss(DepthSample(*batch)), batch_size=1)


@dataclass(frozen=True, kw_only=True)
class DepthScores(ImageScores):
    errors: Tensor  # sum and number of pixels of every image (N, 2)


class DepthTask(Task[DepthRecipe, DepthScores]):
    name, recipe_type, scores_type = "depth", DepthRecipe, DepthScores

    def network(self, recipe: DepthRecipe) -> nn.Module:
        return DepthNet(recipe.filtered)

    def samples(self, recipe: DepthRecipe, split: Literal["train", "val"], data_root: Path | None) -> Slopes:
        return Slopes(recipe.data.length or 1, seed=int(split == "val"))

    def stage(self, recipe: DepthRecipe, network: nn.Module) -> Stage:
        assert recipe.train is not None
        return DepthStage(network, optimization(recipe.train))

    def inputs(self, recipe: DepthRecipe, sample: DepthSample, index: int) -> tuple[Tensor]:
        return (sample.image,)

    def count(self, recipe: DepthRecipe, prediction: Tensor, sample: DepthSample) -> dict[str, Tensor]:
        return {"errors": torch.stack([(prediction - sample.depth).abs().sum(), torch.tensor(sample.depth.numel())])}

    def row(self, recipe: DepthRecipe, scores: Sequence[Any], controls: Sequence[Any], also: Any) -> dict[str, Any]:
        ours, theirs = scores[0].errors, controls[0].errors
        difference = paired_bootstrap(ours, theirs, lambda sums: sums[..., 0] / sums[..., 1])._asdict()
        error = float(ours[:, 0].sum() / ours[:, 1].sum())
        return {"error": error, "difference": difference, "milliseconds": scores[0].milliseconds}

    def cells(self, table: dict[str, Any], intervals: bool = True) -> tuple[list[str], list[list[str]]]:
        return ["method", "error"], [[row["title"], f"{row['error']:.3f}"] for row in table["rows"]]


RECIPE = """
stage: depth
title: {title}
seed: 0
filtered: {filtered}
embedding: null
data: {{name: slopes, length: 24, crop: [24, 24], batch_size: 4, workers: 0}}
start: {{model: null, embedding: null}}
train: {train}
evaluation: {{validation_images: 2, images: 6}}
"""
