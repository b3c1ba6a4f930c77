"""Counting pixels against labels: mean IoU of a whole set, near borders only, and with its uncertainty."""

from segaware.metrics.bootstrap import Interval, paired_bootstrap
from segaware.metrics.iou import MeanIoU, class_iou, confusion_matrix, mean_iou
from segaware.metrics.trimap_iou import TrimapIoU, border_distance, trimap_confusion

__all__ = [
    "Interval",
    "MeanIoU",
    "TrimapIoU",
    "border_distance",
    "class_iou",
    "confusion_matrix",
    "mean_iou",
    "paired_bootstrap",
    "trimap_confusion",
]
