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
from segaware.metrics import confusion_matrix, mean_iou, trimap_confusion
from segaware.recipes.build import num_classes, validation_batches
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe, SegmentationRecipe
from segaware.viz import write_atomically


@dataclass(frozen=True)
class Scores:
    """What was counted on every image, so that any two recipes can be compared image by image.

    Attributes:
        names: Names of the N images.
        confusion: Confusion matrices (N, C, C).
        trimap: Confusion matrices within the bands (N, W, C, C).
        half_widths: Half-widths of the W bands in pixels.
        milliseconds: Median time of one image, the first left out.
    """

    names: tuple[str, ...]
    confusion: Tensor
    trimap: Tensor
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

    def save(self, path: Path) -> None:
        """Write everything to an .npz file, whole or not at all."""
        content = io.BytesIO()
        np.savez_compressed(
            content,
            names=np.array(self.names),
            confusion=self.confusion.numpy(),
            trimap=self.trimap.numpy(),
            half_widths=np.array(self.half_widths),
            milliseconds=np.array(self.milliseconds),
        )
        write_atomically(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(
                tuple(str(n) for n in file["names"]),
                torch.from_numpy(file["confusion"]),
                torch.from_numpy(file["trimap"]),
                tuple(int(w) for w in file["half_widths"]),
                float(file["milliseconds"]),
            )


@torch.inference_mode()
def evaluate(recipe: Recipe, network: nn.Module, root: Path | None) -> Scores:
    """Score a trained network on the validation images of its recipe, one by one at their own size.

    Args:
        recipe: A segmentation recipe.
        network: Its trained network.
        root: Folder that holds the data sets.

    Raises:
        RecipeError: If the recipe trains embeddings, which have no score.
    """
    if not isinstance(recipe, SegmentationRecipe):
        raise RecipeError("an embedding recipe has no score of its own; evaluate a recipe that uses its embeddings")
    images = validation_batches(recipe, root, recipe.evaluation.images)
    classes, widths = num_classes(recipe), recipe.evaluation.half_widths
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).eval()
    names, confusions, trimaps, seconds = [], [], [], []
    for batch in tqdm(images, desc=f"scoring {recipe.title}", leave=False):
        image, label, name = Sample(*batch)
        started = time.perf_counter()
        prediction = network(image.to(device)).argmax(1).cpu()
        seconds.append(time.perf_counter() - started)
        names += list(name)
        confusions.append(confusion_matrix(prediction, label, classes))
        trimaps.append(trimap_confusion(prediction, label, classes, widths))
    milliseconds = 1000 * statistics.median(seconds[1:] or seconds)
    return Scores(tuple(names), torch.stack(confusions), torch.stack(trimaps), widths, milliseconds)
