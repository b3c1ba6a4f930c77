"""The tasks, by the stage that a recipe names.

A task of your own is a subclass of `Task` and a call of `register_task`: its recipes are then read, trained, scored and
compared as ours are. tests/experiments/test_new_task.py has one in a hundred lines.
"""

from __future__ import annotations

from typing import Any

from segaware.experiments.tasks.embedding import EmbeddingTask
from segaware.experiments.tasks.flow.task import FlowTask
from segaware.experiments.tasks.panels import Panels
from segaware.experiments.tasks.scores import ImageScores
from segaware.experiments.tasks.segmentation.task import MultiscaleTask, SegmentationTask, SharpeningTask
from segaware.experiments.tasks.task import Task
from segaware.recipes.schema import Recipe
from segaware.recipes.stages import register_stage

__all__ = ["ImageScores", "Panels", "Task", "named_task", "register_task", "task_of"]

_TASKS: dict[str, Task[Any, Any]] = {
    "embedding": EmbeddingTask(),
    "segmentation": SegmentationTask(),
    "multiscale": MultiscaleTask(),
    "sharpening": SharpeningTask(),
    "flow": FlowTask(),
}


def register_task(stage: str, task: Task[Any, Any]) -> None:
    """Make a task known under the stage that its recipes name.

    Args:
        stage: What recipes of the task say as `stage`.
        task: The task.

    Raises:
        ValueError: If the stage is taken.
    """
    register_stage(stage, task.recipe_type)
    _TASKS[stage] = task


def task_of(recipe: Recipe) -> Task[Any, Any]:
    """Return the task of a recipe."""
    return _TASKS[recipe.stage]


def named_task(name: str) -> Task[Any, Any]:
    """Return the first task of a name, which is in the JSON of its tables."""
    return next(task for task in _TASKS.values() if task.name == name)
