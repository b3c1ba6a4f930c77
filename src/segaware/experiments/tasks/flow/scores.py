"""What is counted of estimates of optical flow, and how it compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segaware.data.flow import FlowSample
from segaware.experiments.tasks.scores import ImageScores
from segaware.metrics import flow_error_sums, mean_flow_errors, paired_bootstrap

DISPLACEMENTS = (0, 1, 2, 4, 8, 16, 32, 64, 128)  # edges of the histogram in pixels; the last class has no end


@dataclass(frozen=True, kw_only=True)
class FlowScores(ImageScores):
    """What was summed on every pair of images, so that any two recipes can be compared pair by pair.

    Attributes:
        sums: Sums of errors and the pixels they are of (N, S, 2); see `segaware.metrics.flow_error_sums`.
        distances: Distances to a motion boundary in pixels, of the last S - 3 sums.
        displacements: Pixels of all pairs by true displacement, in the classes that `DISPLACEMENTS` begins.
    """

    sums: Tensor
    distances: tuple[int, ...]
    displacements: Tensor

    @property
    def errors(self) -> list[float]:
        """Mean errors over all pixels of the set: end-point, angular, Fl, and end-point by distance."""
        return [float(v) for v in mean_flow_errors(self.sums.sum(0))]

    @classmethod
    def collect(cls, counts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stack the sums, and add the histograms."""
        stacked = super().collect(counts)
        return {**stacked, "displacements": stacked["displacements"].sum(0)}


def count_errors(flow: Tensor, sample: FlowSample, distances: tuple[int, ...]) -> dict[str, Tensor]:
    """Return what is summed on one pair of images.

    Args:
        flow: Its estimated flow (1, 2, H, W) in pixels.
        sample: The pair with its true flow, in a batch of one.
        distances: Distances to a motion boundary in pixels.
    """
    truth, valid = sample.flow[0], sample.valid[0]
    edges = torch.tensor(DISPLACEMENTS[1:], dtype=torch.float32)
    lengths = torch.linalg.vector_norm(truth, dim=0)[valid]
    return {
        "sums": flow_error_sums(flow[0], truth, valid, distances),
        "displacements": torch.bucketize(lengths, edges, right=True).bincount(minlength=len(DISPLACEMENTS)),
    }


def flow_row(scores: FlowScores, control: FlowScores, also: dict[str, FlowScores]) -> dict[str, Any]:
    """Return scores as a row of a table has them.

    These are mean errors over all pixels, `errors` (end-point error in pixels, angular error in degrees, share of
    outliers Fl, end-point error within each distance of a motion boundary and beyond the last), their differences to
    the control with intervals, and `also`, by name of another data set, the mean end-point and angular error and the
    end-point error of each of its pairs.
    """
    return {
        "errors": scores.errors,
        "differences": [
            paired_bootstrap(scores.sums[:, i], control.sums[:, i], mean_flow_errors)._asdict()
            for i in range(scores.sums.shape[1])
        ],
        "also": {
            name: {
                "end_point_error": other.errors[0],
                "angular_error": other.errors[1],
                "pairs": {n: float(mean_flow_errors(sums[0])) for n, sums in zip(other.names, other.sums, strict=True)},
            }
            for name, other in also.items()
        },
        "milliseconds": scores.milliseconds,
    }
