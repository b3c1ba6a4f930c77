"""Pictures of where one trained recipe predicts better than another, and where worse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from segaware.experiments.build import open_data
from segaware.experiments.run import load_network
from segaware.experiments.tasks import ImageScores, Task, task_of
from segaware.experiments.tasks.panels import Panels
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe
from segaware.viz import Report, stack


def draw_comparison(
    names: tuple[str, str], recipes: tuple[Recipe, Recipe], workspace: Workspace, count: int, reduce: int = 1
) -> np.ndarray:
    """Draw the validation images on which the second recipe gains most over the first, then those where it loses most.

    Args:
        names: Names of two recipes that a table has scored on the same images.
        recipes: These recipes.
        workspace: Where their runs and the data sets are.
        count: How many images of each kind.
        reduce: Show every so many-th pixel.

    Returns:
        Picture, uint8 (H, W, 3): per image (of flow, the first of its pair) the photograph, the truth, what both
        predict, their errors, and the embedding of the second; below, masks of three pixels near the border of an
        object, if the second has a filter or CRF.

    Raises:
        RecipeError: If a recipe has no scores, they are of other images, or the recipes are of different tasks.
    """
    return stack([panels.picture() for panels in _compared(names, recipes, workspace, count, reduce)])


def write_comparison(
    path: Path, names: tuple[str, str], recipes: tuple[Recipe, Recipe], workspace: Workspace, count: int, reduce: int
) -> None:
    """Write the same as a page, an .html file in a folder that is there: predictions before and after a slider."""
    report = Report(
        f"{names[1]} beside {names[0]}",
        f"The {count} images on which {names[1]} gains most, then those on which it loses most. What {names[0]} "
        "predicts is on the left of the dashed lines, which sliders move.",
    )
    for panels in _compared(names, recipes, workspace, count, reduce):
        panels.add_to(report)
    report.write(path)


def _compared(
    names: tuple[str, str], recipes: tuple[Recipe, Recipe], workspace: Workspace, count: int, reduce: int
) -> Iterator[Panels]:
    task, other = (_task(name, recipe) for name, recipe in zip(names, recipes, strict=True))
    if task.name != other.name:
        raise RecipeError(f"{names[0]} and {names[1]} are of different stages: nothing to compare")
    first, second = (_scores(task, workspace.scores(name)) for name in names)
    if first.names != second.names:
        raise RecipeError("the two recipes were scored on different images")
    gains = task.gains(first, second)
    order = gains.argsort(descending=True, stable=True).tolist()
    networks = [load_network(n, r, workspace.weights(n))[0] for n, r in zip(names, recipes, strict=True)]
    samples = open_data(recipes[1], "val", workspace.data_root, recipes[1].evaluation.images)
    for index in (*order[:count], *order[-count:]):
        yield task.panels(samples[index], index, recipes, networks, f"{gains[index]:+.3f}", reduce)


def _task(name: str, recipe: Recipe) -> Task[Any, Any]:
    task = task_of(recipe)
    if task.scores_type is None:
        raise RecipeError(f"{name}, of the {recipe.stage} stage, predicts nothing to compare")
    return task


def _scores(task: Task[Any, Any], path: Path) -> ImageScores:
    if not path.is_file():
        raise RecipeError(f"{path.parent} holds no {path.name}; run `segaware table` first")
    assert task.scores_type is not None
    return task.scores_type.load(path)
