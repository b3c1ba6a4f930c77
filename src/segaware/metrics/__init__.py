"""Comparing predictions and embeddings with the truth: mean IoU, also near borders, errors of flow, intervals."""

from segaware.metrics.bootstrap import Interval, paired_bootstrap
from segaware.metrics.boundary_iou import BoundaryIoU, boundary_counts, mean_boundary_iou
from segaware.metrics.flow_error import (
    AngularError,
    BoundaryEndPointError,
    EndPointError,
    FlAll,
    angular_error,
    end_point_error,
    fl_outliers,
    flow_error_sums,
    mean_flow_errors,
)
from segaware.metrics.iou import MeanIoU, class_iou, confusion_matrix, mean_iou
from segaware.metrics.motion_boundary import boundary_distance, motion_boundaries
from segaware.metrics.separability import (
    PixelPairs,
    area_under_curve,
    pairs_by_border,
    pairs_by_distance,
    separability,
)
from segaware.metrics.trimap_iou import TrimapIoU, border_distance, trimap_confusion

__all__ = [
    "AngularError",
    "BoundaryEndPointError",
    "BoundaryIoU",
    "EndPointError",
    "FlAll",
    "Interval",
    "MeanIoU",
    "PixelPairs",
    "TrimapIoU",
    "angular_error",
    "area_under_curve",
    "border_distance",
    "boundary_counts",
    "boundary_distance",
    "class_iou",
    "confusion_matrix",
    "end_point_error",
    "fl_outliers",
    "flow_error_sums",
    "mean_boundary_iou",
    "mean_flow_errors",
    "mean_iou",
    "motion_boundaries",
    "paired_bootstrap",
    "pairs_by_border",
    "pairs_by_distance",
    "separability",
    "trimap_confusion",
]
