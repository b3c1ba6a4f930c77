"""The task of estimating optical flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.data import Dataset

from segaware.data import Compose, dataset
from segaware.data.flow import (
    FlowColorJitter,
    FlowRandomAffine,
    FlowRandomCrop,
    FlowRandomFlip,
    FlowSample,
    FlowTransform,
)
from segaware.experiments.tasks.flow.panels import draw_pairs
from segaware.experiments.tasks.flow.scores import DISPLACEMENTS, FlowScores, count_errors, flow_row
from segaware.experiments.tasks.flow.tables import draw_errors, flow_cells, flow_scores_cells
from segaware.experiments.tasks.networks import build_embedding, optimization
from segaware.experiments.tasks.panels import Panels
from segaware.experiments.tasks.task import Cells, Task
from segaware.metrics import mean_flow_errors
from segaware.models import FlowNetC, FlowNetS, SegAwareFlowNetS, VariationalRefinement
from segaware.recipes.files import RecipeError
from segaware.recipes.flow import FlowRecipe
from segaware.training import FlowStage

_VALIDATION_PAIRS = 160  # of generated ones; data sets on disk have their own number


class FlowTask(Task[FlowRecipe, FlowScores]):
    """Train a FlowNet; score end-point errors, also near motion boundaries, angular errors and outliers."""

    name = "flow"
    recipe_type = FlowRecipe
    scores_type = FlowScores
    images = 2

    def network(self, recipe: FlowRecipe) -> nn.Module:
        """Return the untrained FlowNet."""
        model = recipe.model
        embedding = build_embedding(recipe.embedding)
        variational = VariationalRefinement() if model.variational else None
        is_segaware = model.segaware_prediction or model.filter_kernel_size > 0
        if model.network == "flownetc":
            if is_segaware or embedding is not None:
                raise ValueError("model.network=flownetc has no segmentation-aware form; use flownets")
            return FlowNetC(model.width, batch_norm=model.batch_norm, variational=variational)
        if not is_segaware and embedding is None:
            return FlowNetS(model.width, batch_norm=model.batch_norm, variational=variational)
        options = model.model_dump(exclude={"network", "variational"})
        return SegAwareFlowNetS(**options, variational=variational, embedding=embedding)

    def samples(
        self, recipe: FlowRecipe, split: Literal["train", "val"], data_root: Path | None
    ) -> Dataset[FlowSample]:
        """Return pairs of images with their flow."""
        data, record = recipe.data, dataset(recipe.data.name)
        for key in ("length", "size"):
            if (getattr(data, key) is None) == record.is_generated:
                raise RecipeError(
                    f"data.{key}: generated pairs need it and other data null, got {getattr(data, key)} for {data.name}"
                )
        transform = None
        if split == "train":
            parts: list[FlowTransform] = []
            if data.affine is not None:
                parts.append(FlowRandomAffine(**data.affine.model_dump()))
            parts += [FlowRandomCrop(*data.crop), FlowRandomFlip(*data.flip)]
            if data.color is not None:
                parts.append(FlowColorJitter(**data.color.model_dump()))
            transform = Compose(parts)
        length = _VALIDATION_PAIRS if split == "val" and record.is_generated else data.length
        return record.open(split, data_root, transform, length, data.size)

    def stage(self, recipe: FlowRecipe, network: nn.Module) -> FlowStage:
        """Return the training with end-point errors on all scales."""
        assert recipe.train is not None
        return FlowStage(network, optimization(recipe.train))

    def inputs(self, recipe: FlowRecipe, sample: FlowSample, index: int) -> tuple[Any, ...]:
        """Return both images."""
        return sample.image1, sample.image2

    def count(self, recipe: FlowRecipe, prediction: Tensor, sample: FlowSample) -> dict[str, Tensor]:
        """Return the sums of one pair."""
        return count_errors(prediction, sample, recipe.evaluation.distances)

    def constants(self, recipe: FlowRecipe) -> dict[str, Any]:
        """Return the distances to a motion boundary."""
        return {"distances": recipe.evaluation.distances}

    def also(self, recipe: FlowRecipe) -> tuple[str, ...]:
        """Return the other data sets that the recipe names."""
        return recipe.evaluation.also

    def summary(self, scores: FlowScores) -> tuple[dict[str, Any], list[str], list[str]]:
        """Return the errors of one recipe, in pixels, degrees and percent."""
        return flow_scores_cells(scores)

    def table(self, recipe: FlowRecipe, scores: dict[str | None, FlowScores]) -> dict[str, Any]:
        """Return the distances, and how far pixels of each data set move."""
        return {
            "distances": list(scores[None].distances),
            "displacement_edges": list(DISPLACEMENTS),
            "displacements": {name or recipe.data.name: one.displacements.tolist() for name, one in scores.items()},
        }

    def row(
        self,
        recipe: FlowRecipe,
        scores: Sequence[FlowScores],
        controls: Sequence[FlowScores],
        also: dict[str, FlowScores],
    ) -> dict[str, Any]:
        """Return the errors, with their differences to the control."""
        published = {"published": recipe.published, "published_angle": recipe.published_angle}
        return {**published, **flow_row(scores[0], controls[0], also)}

    def cells(self, table: dict[str, Any], intervals: bool = True) -> Cells:
        """Return header and rows of a table, in pixels, degrees and percent."""
        return flow_cells(table, intervals)

    def draw(self, table: dict[str, Any], path: Path) -> None:
        """Plot end-point errors by distance to a motion boundary."""
        draw_errors(table, path)

    def gains(self, first: FlowScores, second: FlowScores) -> Tensor:
        """Return by how many pixels the second's mean end-point error is lower."""
        return (mean_flow_errors(first.sums[:, 0]) - mean_flow_errors(second.sums[:, 0])).nan_to_num(0)

    def panels(
        self,
        sample: FlowSample,
        index: int,
        recipes: Sequence[FlowRecipe],
        networks: Sequence[nn.Module],
        caption: str,
        reduce: int,
    ) -> Panels:
        """Draw the first image, the flow, both estimates, their errors and the second's embedding."""
        return draw_pairs(sample, [recipe.title for recipe in recipes], networks, caption, reduce)
