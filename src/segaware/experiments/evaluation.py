"""Scoring a trained recipe on its validation images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segaware.data import Sample
from segaware.experiments.build import network_inputs, num_classes, validation_batches
from segaware.experiments.cached import cached_predictor
from segaware.experiments.image_scores import ImageScores
from segaware.metrics import boundary_counts, confusion_matrix, mean_boundary_iou, mean_iou, trimap_confusion
from segaware.models import DeepLab
from segaware.progress import progress
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe, SegmentationRecipe


@dataclass(frozen=True, kw_only=True)
class Scores(ImageScores):
    """What was counted on every image, so that any two recipes can be compared image by image.

    Attributes:
        confusion: Confusion matrices (N, C, C).
        trimap: Confusion matrices within the bands (N, W, C, C).
        boundary: Intersections and unions of the boundary regions (N, 2, C).
        half_widths: Half-widths of the W bands in pixels.
    """

    confusion: Tensor
    trimap: Tensor
    boundary: Tensor
    half_widths: tuple[int, ...]

    @property
    def miou(self) -> float:
        """Mean IoU over the set, 0..1."""
        return float(mean_iou(self.confusion.sum(0)))

    @property
    def trimap_miou(self) -> list[float]:
        """Mean IoU within each band over the set, 0..1."""
        return [float(v) for v in mean_iou(self.trimap.sum(0))]

    @property
    def boundary_iou(self) -> float:
        """Mean Boundary IoU over the set, 0..1."""
        return float(mean_boundary_iou(self.boundary.sum(0)))


@torch.inference_mode()
def evaluate(recipe: Recipe, network: nn.Module, root: Path | None, cache: Path | None = None) -> Scores:
    """Score a trained network on the validation images of its recipe, one by one at their own size.

    Args:
        recipe: A segmentation recipe.
        network: Its trained network.
        root: Folder that holds the data sets.
        cache: Folder that keeps the scores of the network before they are refined, for networks that share them; their
            precision is that of the recipe's evaluation. None computes everything, in float32.

    Raises:
        RecipeError: If the recipe is none of segmentation.
    """
    if not isinstance(recipe, SegmentationRecipe):
        raise RecipeError(f"a recipe of the {recipe.stage} stage has no mean IoU; evaluate one of segmentation")
    images = validation_batches(recipe, root, recipe.evaluation.images)
    classes, widths = num_classes(recipe), recipe.evaluation.half_widths
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).eval()
    cached = None
    if cache is not None and isinstance(network, DeepLab):
        cached = cached_predictor(cache, recipe, network)

    def prepare(sample: Sample, index: int) -> Callable[[], Tensor]:
        if cached is not None:
            return partial(cached, sample)
        inputs = network_inputs(recipe, sample, index)
        return lambda: network(*(x.to(device) if isinstance(x, Tensor) else x for x in inputs)).argmax(1)

    return score(prepare, images, classes, widths, recipe.title)


def score(
    prepare: Callable[[Sample, int], Callable[[], Tensor]],
    images: DataLoader[Sample],
    num_classes: int,
    half_widths: tuple[int, ...],
    title: str,
) -> Scores:
    """Count what a method predicts for labelled images.

    Args:
        prepare: Called with an image, as a batch of one, and its number among the images; returns what predicts its
            classes (1, H, W), which is timed.
        images: The images with their labels, one by one.
        num_classes: Number of classes.
        half_widths: Half-widths of the trimap bands in pixels.
        title: Of the method, for the progress bar.
    """
    names, sizes, confusions, trimaps, boundaries, seconds = [], [], [], [], [], []
    for index, batch in enumerate(progress(images, f"scoring {title}", "image")):
        _, label, name = sample = Sample(*batch)
        predict = prepare(sample, index)
        started = time.perf_counter()
        prediction = predict().cpu()
        seconds.append(time.perf_counter() - started)
        names += list(name)
        sizes.append(label.shape[-2:])
        confusions.append(confusion_matrix(prediction, label, num_classes))
        trimaps.append(trimap_confusion(prediction, label, num_classes, half_widths))
        boundaries.append(boundary_counts(prediction[0], label[0], num_classes))
    return Scores(
        names=tuple(names),
        sizes=torch.tensor(sizes),
        milliseconds=1000 * statistics.median(seconds[1:] or seconds),
        confusion=torch.stack(confusions),
        trimap=torch.stack(trimaps),
        boundary=torch.stack(boundaries),
        half_widths=half_widths,
    )
