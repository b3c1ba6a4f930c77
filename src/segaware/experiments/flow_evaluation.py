"""Scoring a trained flow recipe on pairs of images."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from segaware.data import DataError, dataset
from segaware.data.flow import FlowSample
from segaware.experiments.build import validation_batches
from segaware.experiments.image_scores import ImageScores
from segaware.metrics import flow_error_sums, mean_flow_errors
from segaware.progress import progress
from segaware.recipes.schema import FlowRecipe

DISPLACEMENTS = (0, 1, 2, 4, 8, 16, 32, 64, 128)  # edges of the histogram in pixels; the last class has no end


@dataclass(frozen=True, kw_only=True)
class FlowScores(ImageScores):
    """What was summed on every pair of images, so that any two recipes can be compared pair by pair.

    Attributes:
        sums: Sums of errors and the pixels they are of (N, S, 2); see `segaware.metrics.flow_error_sums`.
        distances: Distances to a motion boundary in pixels, of the last S - 3 sums.
        displacements: Pixels by true displacement, in the classes that `DISPLACEMENTS` begins.
    """

    sums: Tensor
    distances: tuple[int, ...]
    displacements: Tensor

    @property
    def errors(self) -> list[float]:
        """Mean errors over all pixels of the set: end-point, angular, Fl, and end-point by distance."""
        return [float(v) for v in mean_flow_errors(self.sums.sum(0))]


def evaluate_flow(recipe: FlowRecipe, network: nn.Module, root: Path | None) -> FlowScores:
    """Score a trained network on the validation pairs of its recipe, one by one at their own size.

    Args:
        recipe: The recipe.
        network: Its trained network.
        root: Folder that holds the data sets.

    Raises:
        DataError: If files are missing.
    """
    pairs = validation_batches(recipe, root, recipe.evaluation.images)
    return _score(pairs, network, recipe.evaluation.distances, recipe.title)


def evaluate_other(recipe: FlowRecipe, network: nn.Module, root: Path | None, name: str) -> FlowScores:
    """Score a trained network on the validation pairs of another data set.

    Raises:
        DataError: If it is not there.
    """
    pairs = dataset(name, "flow").open("val", root)
    return _score(DataLoader(pairs, 1), network, recipe.evaluation.distances, f"{recipe.title} on {name}")


def open_other(name: str, root: Path | None) -> Dataset[FlowSample] | None:
    """Return the validation pairs of a data set, or None if it is not there."""
    try:
        return dataset(name, "flow").open("val", root)
    except DataError:
        return None


@torch.inference_mode()
def _score(pairs: DataLoader[FlowSample], network: nn.Module, distances: tuple[int, ...], title: str) -> FlowScores:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).eval()
    edges = torch.tensor(DISPLACEMENTS[1:], dtype=torch.float32)
    displacements = torch.zeros(len(DISPLACEMENTS), dtype=torch.int64)
    names, sizes, sums, seconds = [], [], [], []
    for batch in progress(pairs, f"scoring {title}", "pair"):
        sample = FlowSample(*batch)
        started = time.perf_counter()
        prediction = network(sample.image1.to(device), sample.image2.to(device)).cpu()
        seconds.append(time.perf_counter() - started)
        names.append(sample.name[0])
        sizes.append(sample.flow.shape[-2:])
        sums.append(flow_error_sums(prediction[0], sample.flow[0], sample.valid[0], distances))
        magnitude = torch.linalg.vector_norm(sample.flow[0], dim=0)[sample.valid[0]]
        displacements += torch.bucketize(magnitude, edges, right=True).bincount(minlength=len(DISPLACEMENTS))
    return FlowScores(
        names=tuple(names),
        sizes=torch.tensor(sizes),
        milliseconds=1000 * statistics.median(seconds[1:] or seconds),
        sums=torch.stack(sums),
        distances=distances,
        displacements=displacements,
    )
