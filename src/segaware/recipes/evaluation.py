"""Scoring a trained recipe on its validation images."""

from __future__ import annotations

import io
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from segaware.data import Sample
from segaware.metrics import boundary_counts, confusion_matrix, mean_boundary_iou, mean_iou, trimap_confusion
from segaware.models import DeepLabLargeFOV
from segaware.recipes.build import network_inputs, num_classes, validation_batches
from segaware.recipes.cached import cached_predictor
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe, SegmentationRecipe
from segaware.viz import write_atomically


@dataclass(frozen=True)
class Scores:
    """What was counted on every image, so that any two recipes can be compared image by image.

    Attributes:
        names: Names of the N images.
        sizes: Their heights and widths (N, 2).
        confusion: Confusion matrices (N, C, C).
        trimap: Confusion matrices within the bands (N, W, C, C).
        boundary: Intersections and unions of the boundary regions (N, 2, C).
        half_widths: Half-widths of the W bands in pixels.
        milliseconds: Median time of one image, the first left out; of what was not cached.
    """

    names: tuple[str, ...]
    sizes: Tensor
    confusion: Tensor
    trimap: Tensor
    boundary: Tensor
    half_widths: tuple[int, ...]
    milliseconds: float

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

    @property
    def largest(self) -> int:
        """Index of the first of the largest images."""
        return int(self.sizes.prod(1).argmax())

    def save(self, path: Path) -> None:
        """Write everything to an .npz file, whole or not at all."""
        content = io.BytesIO()
        np.savez_compressed(
            content,
            names=np.array(self.names),
            sizes=self.sizes.numpy(),
            confusion=self.confusion.numpy(),
            trimap=self.trimap.numpy(),
            boundary=self.boundary.numpy(),
            half_widths=np.array(self.half_widths),
            milliseconds=np.array(self.milliseconds),
        )
        write_atomically(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(
                names=tuple(str(n) for n in file["names"]),
                sizes=torch.from_numpy(file["sizes"]),
                confusion=torch.from_numpy(file["confusion"]),
                trimap=torch.from_numpy(file["trimap"]),
                boundary=torch.from_numpy(file["boundary"]),
                half_widths=tuple(int(w) for w in file["half_widths"]),
                milliseconds=float(file["milliseconds"]),
            )


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
    if cache is not None and isinstance(network, DeepLabLargeFOV):
        cached = cached_predictor(cache, recipe, network)
    names, sizes, confusions, trimaps, boundaries, seconds = [], [], [], [], [], []
    for index, batch in enumerate(tqdm(images, desc=f"scoring {recipe.title}", leave=False)):
        _, label, name = sample = Sample(*batch)
        inputs = network_inputs(recipe, sample, index)
        started = time.perf_counter()
        if cached is None:
            prediction = network(*(x.to(device) if isinstance(x, Tensor) else x for x in inputs)).argmax(1).cpu()
        else:
            prediction = cached(sample)
        seconds.append(time.perf_counter() - started)
        names += list(name)
        sizes.append(label.shape[-2:])
        confusions.append(confusion_matrix(prediction, label, classes))
        trimaps.append(trimap_confusion(prediction, label, classes, widths))
        boundaries.append(boundary_counts(prediction[0], label[0], classes))
    milliseconds = 1000 * statistics.median(seconds[1:] or seconds)
    counts = (torch.stack(confusions), torch.stack(trimaps), torch.stack(boundaries))
    return Scores(tuple(names), torch.tensor(sizes), *counts, widths, milliseconds)
