"""What is counted of a segmentation, and how it compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

from torch import Tensor

from segaware.data import Sample
from segaware.experiments.tasks.scores import ImageScores
from segaware.metrics import (
    boundary_counts,
    confusion_matrix,
    mean_boundary_iou,
    mean_iou,
    paired_bootstrap,
    trimap_confusion,
)


@dataclass(frozen=True, kw_only=True)
class SegmentationScores(ImageScores):
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


def count_classes(
    prediction: Tensor, sample: Sample, num_classes: int, half_widths: tuple[int, ...]
) -> dict[str, Tensor]:
    """Return what is counted on one image.

    Args:
        prediction: Its predicted classes (1, H, W).
        sample: The image with its labels, in a batch of one.
        num_classes: Number of classes.
        half_widths: Half-widths of the trimap bands in pixels.
    """
    label = sample.label
    return {
        "confusion": confusion_matrix(prediction, label, num_classes),
        "trimap": trimap_confusion(prediction, label, num_classes, half_widths),
        "boundary": boundary_counts(prediction[0], label[0], num_classes),
    }


def segmentation_row(scores: Sequence[SegmentationScores], controls: Sequence[SegmentationScores]) -> dict[str, Any]:
    """Return scores, of every seed, as a row of a table has them: means, and differences to the control's."""

    def difference(
        counts: Callable[[SegmentationScores], Tensor], statistic: Callable[[Tensor], Tensor] = mean_iou
    ) -> dict[str, float]:
        ours, theirs = ([counts(one) for one in several] for several in (scores, controls))
        return paired_bootstrap(ours, theirs, statistic)._asdict()

    bands = range(len(scores[0].half_widths))
    return {
        "miou": fmean(one.miou for one in scores),
        "trimap_miou": [fmean(one.trimap_miou[band] for one in scores) for band in bands],
        "boundary_iou": fmean(one.boundary_iou for one in scores),
        "miou_difference": difference(lambda one: one.confusion),
        "trimap_miou_difference": [difference(partial(_band, band)) for band in bands],
        "boundary_iou_difference": difference(lambda one: one.boundary, mean_boundary_iou),
        "milliseconds": fmean(one.milliseconds for one in scores),
    }


def _band(band: int, scores: SegmentationScores) -> Tensor:
    return scores.trimap[:, band]
