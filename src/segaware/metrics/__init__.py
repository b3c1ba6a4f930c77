"""Counting pixels against labels: mean IoU of a whole set, near borders, of boundaries, and with its uncertainty."""

from segaware.metrics.bootstrap import Interval, paired_bootstrap
from segaware.metrics.boundary_iou import BoundaryIoU, boundary_counts, mean_boundary_iou
from segaware.metrics.iou import MeanIoU, class_iou, confusion_matrix, mean_iou
from segaware.metrics.trimap_iou import TrimapIoU, border_distance, trimap_confusion

__all__ = [
    "BoundaryIoU",
    "Interval",
    "MeanIoU",
    "TrimapIoU",
    "border_distance",
    "boundary_counts",
    "class_iou",
    "confusion_matrix",
    "mean_boundary_iou",
    "mean_iou",
    "paired_bootstrap",
    "trimap_confusion",
]
