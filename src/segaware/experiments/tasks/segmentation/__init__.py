"""Segmentation: class scores for every pixel; of an image, or of scores that are made from labels."""

from segaware.experiments.tasks.segmentation.scores import SegmentationScores, count_classes, segmentation_row
from segaware.experiments.tasks.segmentation.task import MultiscaleTask, SegmentationTask, SharpeningTask

__all__ = [
    "MultiscaleTask",
    "SegmentationScores",
    "SegmentationTask",
    "SharpeningTask",
    "count_classes",
    "segmentation_row",
]
