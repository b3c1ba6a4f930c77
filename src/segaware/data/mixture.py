"""Several data sets as one, for embeddings: what is drawn, and how their labels come to mean the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from segaware.constants import GROUND_INDEX, IGNORE_INDEX
from segaware.data.reading import DataError
from segaware.data.registry import DatasetRecord, dataset
from segaware.data.sample import PredictedSample, Sample

_PREDICTIONS = "predictions"  # the task of data sets that yield a `PredictedSample`


def mixed_records(weights: Mapping[str, float]) -> list[DatasetRecord]:
    """Return the records of data sets that are to be mixed.

    Args:
        weights: By name of a data set, how often it is drawn.

    Raises:
        ValueError: There is none, a name is unknown, a set has no images for training, or a weight is not positive.
    """
    if not weights:
        raise ValueError("a mixture must name at least one data set, got none")
    records = [dataset(name) for name in weights]
    for record in records:
        if record.task not in ("segmentation", _PREDICTIONS):
            raise ValueError(f"a mixture is of labelled images, data set {record.name!r} is of {record.task}")
        if "train" not in record.splits:
            raise ValueError(f"data set {record.name!r} is for scoring alone, so it cannot be part of a mixture")
        if not 0 < weights[record.name] < math.inf:
            raise ValueError(f"the weight of {record.name!r} must be positive, got {weights[record.name]}")
    return records


class Mixture(Dataset[Sample | PredictedSample]):
    """Images for training of several data sets, drawn by weight: labels are regions, equal or not within one image.

    Every access draws a data set by its weight, then one of its images, then what the transform draws, all from
    torch's global generator; the index draws nothing by itself. Of data sets whose class 0 is all that is behind
    objects (`DatasetRecord.ground`) label 0 becomes `GROUND_INDEX`; near borders that may be a few pixels off
    (`DatasetRecord.tolerance`) nothing is labelled. BSDS500 draws an annotator at every access, so over
    a training a pair of pixels counts by how many annotators separate it.

    If any of the data sets is of predictions, every sample is a `PredictedSample` whose scores are the logit of any
    object at all (1, H, W), NaN where nobody predicted.

    Args:
        weights: By name of a data set of segmentation or predictions, how often it is drawn, in any unit.
        root: Folder that holds the data sets; None if all are generated.
        length: Number of samples.
        transform: Applied to each sample.

    Raises:
        ValueError: `length` or a weight is not positive, a name is unknown, or a data set has no images for training.
        DataError: Files are missing; on access, a file is broken, or a region has the number `GROUND_INDEX`.

    Example:
        >>> mixture = Mixture({"scenes": 1.0}, None, length=3)
        >>> len(mixture), mixture[0].image.shape
        (3, torch.Size([3, 96, 96]))
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        root: str | Path | None,
        length: int,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        self.records = mixed_records(weights)
        self.length, self.transform = length, transform
        self.predicted = any(record.task == _PREDICTIONS for record in self.records)
        self.weights = torch.tensor([float(weights[record.name]) for record in self.records], dtype=torch.float64)
        self.parts: list[Dataset[Sample]] = [
            record.open("train", None if root is None else Path(root), length=length if record.is_generated else None)
            for record in self.records
        ]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample | PredictedSample:
        range(self.length)[index]  # IndexError past the end, which ends a for loop
        drawn = int(torch.multinomial(self.weights, 1))
        part, record = self.parts[drawn], self.records[drawn]
        sample: Sample | PredictedSample = part[int(torch.randint(len(part), ()))]  # type: ignore[arg-type]
        if (sample.label == GROUND_INDEX).any():
            raise DataError(f"{sample.name} of data set {record.name!r}: region {GROUND_INDEX} would count as ground")
        label = sample.label
        if record.ground:
            label = label.masked_fill(label == 0, GROUND_INDEX)
        if record.tolerance:
            label = label.masked_fill(near_border(label[None].float(), record.tolerance)[0], IGNORE_INDEX)
        sample = sample._replace(label=label)
        if self.predicted:
            sample = PredictedSample(sample.image, sample.label, sample.name, _object_logit(sample))
        return self.transform(sample) if self.transform else sample


def _object_logit(sample: Sample | PredictedSample) -> Tensor:
    """Return the logit (1, H, W) of all classes but the first together, NaN if nobody predicted."""
    if isinstance(sample, PredictedSample):
        return (sample.scores[1:].logsumexp(0) - sample.scores[0])[None]
    return torch.full((1, *sample.label.shape), math.nan)


def near_border(maps: Tensor, radius: int) -> Tensor:
    """Return where maps (..., H, W) change within a square of so many pixels around a pixel, bool."""
    largest, smallest = (sign * F.max_pool2d(sign * maps, 2 * radius + 1, 1, radius) for sign in (1, -1))
    return largest != smallest
