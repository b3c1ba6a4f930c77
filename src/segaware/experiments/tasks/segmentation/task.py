"""The tasks of segmentation: DeepLab, DeepLabV2 with its scales, and the sharpening of scores that are given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from segaware.data import COARSE_STRIDE, PredictedSample, Sample, coarse_scores, dataset
from segaware.devices import default_device
from segaware.experiments.tasks.networks import build_embedding, optimization
from segaware.experiments.tasks.panels import Panels
from segaware.experiments.tasks.scores import Predictor
from segaware.experiments.tasks.segmentation.cached import cached_part, cached_predictor, with_cache
from segaware.experiments.tasks.segmentation.matting import ClosedFormMatting
from segaware.experiments.tasks.segmentation.oracle import LabelEmbedding, WithLabels, tell_labels
from segaware.experiments.tasks.segmentation.panels import draw_images
from segaware.experiments.tasks.segmentation.samples import open_images
from segaware.experiments.tasks.segmentation.scores import SegmentationScores, count_classes, segmentation_row
from segaware.experiments.tasks.segmentation.tables import draw_trimap, scores_cells, table_cells
from segaware.experiments.tasks.task import Cells, Task
from segaware.metrics import mean_iou
from segaware.models import DeepLab, DeepLabLargeFOV, DeepLabV2, ScoreRefinement, Sharpener
from segaware.nn import DenseCRF, GuidedFilter
from segaware.recipes.files import RecipeError
from segaware.recipes.segmentation import (
    AnySegmentationRecipe,
    MultiscaleRecipe,
    ScoreRefinementV2Options,
    SegmentationRecipe,
    SharpeningRecipe,
)
from segaware.training import MultiscaleStage, RefinementStage, SegmentationStage, SharpeningStage, Stage


class SegmentationTask(Task[AnySegmentationRecipe, SegmentationScores]):
    """Train a DeepLab-LargeFOV; score mean IoU, mean IoU near borders, and boundary IoU."""

    name = "segmentation"
    recipe_type: type[AnySegmentationRecipe] = SegmentationRecipe
    scores_type = SegmentationScores
    by_seed = ("miou", "trimap_miou", "boundary_iou", "miou_difference")
    stage_type = SegmentationStage

    def network(self, recipe: AnySegmentationRecipe) -> nn.Module:
        """Return the untrained DeepLab."""
        return self._deeplab(recipe, DeepLabLargeFOV)

    def _deeplab(self, recipe: AnySegmentationRecipe, network: type[DeepLab]) -> nn.Module:
        options = recipe.model.model_dump(exclude=set(ScoreRefinementV2Options.model_fields))
        classes, refinement = num_classes(recipe), _refinement(recipe)
        if _is_oracle(recipe):
            return tell_labels(network(classes, **options, refinement=refinement, embedding=LabelEmbedding(classes)))
        with torch.random.fork_rng(devices=[]):  # networks with and without an embedding start with the same weights
            embedding = build_embedding(recipe.embedding)
        return network(classes, **options, refinement=refinement, embedding=embedding)

    def samples(
        self, recipe: AnySegmentationRecipe, split: Literal["train", "val"], data_root: Path | None
    ) -> Dataset[Sample]:
        """Return images with their labels; those for cached scores are whole, and cut with their scores."""
        images = open_images(recipe.data, split, data_root, whole=trains_on_cache(recipe))
        return WithLabels(images) if _is_oracle(recipe) else images

    def stage(self, recipe: AnySegmentationRecipe, network: nn.Module) -> Stage:
        """Return the training with cross entropy; on cached scores, that of the refinement alone."""
        assert recipe.train is not None
        classes, how = num_classes(recipe), optimization(recipe.train)
        if trains_on_cache(recipe):
            assert isinstance(network, DeepLab)
            return RefinementStage(cached_part(recipe, network), classes, how, recipe.loss_at, network.output_stride)
        return self.stage_type(network, classes, how, recipe.loss_at)

    def training_samples(
        self,
        recipe: AnySegmentationRecipe,
        network: nn.Module,
        training: Dataset[Sample],
        validation: Dataset[Sample],
        cache: Path,
    ) -> tuple[Dataset[Any], Dataset[Any]]:
        """Return the samples; for a training on cached scores with these, which the network computes once."""
        if not trains_on_cache(recipe):
            return training, validation
        assert isinstance(network, DeepLab)
        return with_cache(cache, recipe, network.to(default_device()), training, validation)

    def inputs(self, recipe: AnySegmentationRecipe, sample: Sample, index: int) -> tuple[Any, ...]:
        """Return the image."""
        return (sample.image,)

    def prediction(self, output: Tensor) -> Tensor:
        """Return the class with the largest score."""
        return output.argmax(1)

    def predictor(self, recipe: AnySegmentationRecipe, network: nn.Module, cache: Path | None) -> Predictor:
        """Return what predicts the classes of an image, from scores that are kept if there is a cache."""
        if cache is None or not isinstance(network, DeepLab):
            return super().predictor(recipe, network, cache)
        predict = cached_predictor(cache, recipe, network.to(default_device()).eval())
        return lambda sample, index: partial(predict, sample)

    def count(self, recipe: AnySegmentationRecipe, prediction: Tensor, sample: Sample) -> dict[str, Tensor]:
        """Return the counts of one image."""
        return count_classes(prediction, sample, num_classes(recipe), recipe.evaluation.half_widths)

    def constants(self, recipe: AnySegmentationRecipe) -> dict[str, Any]:
        """Return the half-widths of the bands."""
        return {"half_widths": recipe.evaluation.half_widths}

    def summary(self, scores: SegmentationScores) -> tuple[dict[str, Any], list[str], list[str]]:
        """Return the scores of one recipe, in percent in the cells."""
        return scores_cells(scores)

    def table(self, recipe: AnySegmentationRecipe, scores: dict[str | None, SegmentationScores]) -> dict[str, Any]:
        """Return the half-widths of the bands."""
        return {"half_widths": list(scores[None].half_widths)}

    def row(
        self,
        recipe: AnySegmentationRecipe,
        scores: Sequence[SegmentationScores],
        controls: Sequence[SegmentationScores],
        also: dict[str, SegmentationScores],
    ) -> dict[str, Any]:
        """Return mean IoU, trimap IoU and boundary IoU, with their differences to the control."""
        return {"published": recipe.published, **segmentation_row(scores, controls)}

    def cells(self, table: dict[str, Any], intervals: bool = True) -> Cells:
        """Return header and rows of a table, in percent."""
        return table_cells(table, intervals=intervals)

    def draw(self, table: dict[str, Any], path: Path) -> None:
        """Plot mean IoU against the half-width of the band."""
        draw_trimap(table, path)

    def gains(self, first: SegmentationScores, second: SegmentationScores) -> Tensor:
        """Return how much higher the second's mean IoU is; 0 on an image that is void altogether."""
        return (mean_iou(second.confusion) - mean_iou(first.confusion)).nan_to_num(0)

    def panels(
        self,
        sample: Sample,
        index: int,
        recipes: Sequence[AnySegmentationRecipe],
        networks: Sequence[nn.Module],
        caption: str,
        reduce: int,
    ) -> Panels:
        """Draw the image, both predictions, their errors, the second's embedding and some of its masks."""
        tensors: dict[str, Any] = {
            name: part[None] for name, part in sample._asdict().items() if isinstance(part, Tensor)
        }
        batch = sample._replace(**tensors)
        with torch.inference_mode():
            predictions = [
                self.prediction(network(*self.inputs(recipe, batch, index)))[0].numpy()
                for recipe, network in zip(recipes, networks, strict=True)
            ]
        titles = [recipe.title for recipe in recipes]
        palette = dataset(recipes[1].data.name).palette
        return draw_images(sample, palette, titles, predictions, networks[1], caption, reduce)


class MultiscaleTask(SegmentationTask):
    """Train a DeepLabV2, with losses on the scores of every scale."""

    recipe_type = MultiscaleRecipe
    stage_type = MultiscaleStage

    def network(self, recipe: AnySegmentationRecipe) -> nn.Module:
        """Return the untrained DeepLabV2."""
        return self._deeplab(recipe, DeepLabV2)


class SharpeningTask(SegmentationTask):
    """Train a filter or CRF to sharpen scores that are made from labels, or that real networks have given."""

    recipe_type = SharpeningRecipe
    images = 0

    def network(self, recipe: AnySegmentationRecipe) -> nn.Module:
        """Return the untrained sharpener."""
        return Sharpener(_refinement(recipe), build_embedding(recipe.embedding))

    def samples(
        self, recipe: AnySegmentationRecipe, split: Literal["train", "val"], data_root: Path | None
    ) -> Dataset[Sample]:
        """Return images with their labels, and scores if the recipe's are predicted."""
        assert isinstance(recipe, SharpeningRecipe)
        wanted = "predicted" if dataset(recipe.data.name).task == "predictions" else "blurred"
        if recipe.scores != wanted:
            raise RecipeError(f"scores: must be {wanted} for data set {recipe.data.name}, got {recipe.scores}")
        return super().samples(recipe, split, data_root)

    def stage(self, recipe: AnySegmentationRecipe, network: nn.Module) -> Stage:
        """Return the training with cross entropy."""
        assert isinstance(recipe, SharpeningRecipe) and recipe.train is not None
        trains_on_cache(recipe)  # says that it cannot
        classes, how = num_classes(recipe), optimization(recipe.train)
        return SharpeningStage(network, classes, how, recipe.loss_at, recipe.scores)

    def check_untrained(self, recipe: AnySegmentationRecipe) -> None:
        """Raise RecipeError if its embedding is untrained; filter and CRF are as the recipe says."""
        is_learned = recipe.embedding is not None and recipe.embedding.type != "color"
        if recipe.start.model is None and is_learned and recipe.start.embedding is None:
            raise RecipeError(f"recipe {recipe.title!r} trains nothing (train is null), but its embedding has no start")

    def inputs(self, recipe: AnySegmentationRecipe, sample: Sample | PredictedSample, index: int) -> tuple[Any, ...]:
        """Return the image and its scores: predicted ones, or coarse ones, whose noise depends on the index alone."""
        if isinstance(sample, PredictedSample):
            return sample.image, sample.scores, 1
        generator = torch.Generator().manual_seed(index)
        return sample.image, coarse_scores(sample.label, num_classes(recipe), generator=generator), COARSE_STRIDE


def num_classes(recipe: AnySegmentationRecipe) -> int:
    """Return the number of classes of a recipe's data.

    Raises:
        RecipeError: If its labels are regions, not classes.
    """
    count = dataset(recipe.data.name).num_classes
    if count is None:
        raise RecipeError(
            f"data.name: {recipe.data.name} has regions and no classes, so no segmentation can be learned"
        )
    return count


def _is_oracle(recipe: AnySegmentationRecipe) -> bool:
    return recipe.embedding is not None and recipe.embedding.type == "labels"


def trains_on_cache(recipe: AnySegmentationRecipe) -> bool:
    """Tell whether a recipe trains on cached features or scores.

    Raises:
        RecipeError: If other values of the recipe do not fit that.
    """
    if recipe.train_on == "images" or recipe.train is None:
        return False
    stride, data = DeepLab.output_stride, recipe.data
    wanted = {
        "one data.scale and no data.jitter, as they are computed once": data.scale[0] == data.scale[1]
        and data.jitter == 0,
        f"data.crop of sides {stride} * n + 1, whose mirror images have scores at the same places": all(
            side % stride == 1 for side in data.crop
        ),
    }
    if recipe.train_on == "cached_scores":
        wanted["start.model: a network to compute the scores"] = recipe.start.model is not None
        wanted["a stage of segmentation"] = recipe.stage != "sharpening"
    else:
        is_learned = recipe.embedding is not None and recipe.embedding.type in ("fast", "vgg")
        layers = getattr(recipe.model, "segaware_layers", "none")
        wanted["stage=segmentation"] = recipe.stage == "segmentation"
        wanted["model.segaware_layers fc6 or none, as the trunk is computed once"] = layers in ("fc6", "none")
        wanted["embedding in train.frozen"] = not is_learned or "embedding" in recipe.train.frozen
    for what, given in wanted.items():
        if not given:
            raise RecipeError(f"recipe {recipe.title!r}: train_on={recipe.train_on} wants {what}")
    return True


def _refinement(recipe: AnySegmentationRecipe) -> ScoreRefinement:
    """Return what sharpens the scores of a recipe's network."""
    options = recipe.model.model_dump(include=set(ScoreRefinementV2Options.model_fields))
    if options["dense_crf"] is not None:
        options["dense_crf"] = DenseCRF(**options["dense_crf"])
    filter_options = options["image_filter"]
    if filter_options is not None:
        kind = {"guided": GuidedFilter, "closed_form_matting": ClosedFormMatting}[filter_options.pop("type")]
        options["image_filter"] = kind(**filter_options)
    return ScoreRefinement(num_classes(recipe), **options)
