"""Optical flow: how far every pixel moves between two images."""

from segaware.experiments.tasks.flow.scores import FlowScores
from segaware.experiments.tasks.flow.task import FlowTask

__all__ = ["FlowScores", "FlowTask"]
