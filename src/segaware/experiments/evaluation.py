"""Scoring a trained recipe on its validation samples."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.utils.data import DataLoader

from segaware.data import dataset
from segaware.experiments.build import validation_batches
from segaware.experiments.tasks import ImageScores, task_of
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe


@torch.inference_mode()
def evaluate(
    recipe: Recipe, network: nn.Module, workspace: Workspace, other: str | None = None, share: bool = False
) -> ImageScores:
    """Score a trained network on the validation samples of its recipe, one by one at their own size.

    Args:
        recipe: A recipe whose task predicts something.
        network: Its trained network.
        workspace: Where the data sets are.
        other: Another data set to score it on, by name.
        share: Whether to keep what several recipes compute alike in the workspace; its precision is that of the
            recipe's evaluation. Otherwise everything is computed, in float32.

    Returns:
        The scores, of the task's `scores_type`.

    Raises:
        RecipeError: If the task predicts nothing.
        DataError: If files are missing.
    """
    task = task_of(recipe)
    if task.scores_type is None:
        raise RecipeError(f"a recipe of the {recipe.stage} stage predicts nothing to score")
    if other is None:
        title, samples = recipe.title, validation_batches(recipe, workspace.data_root)
    else:
        title = f"{recipe.title} on {other}"
        samples = DataLoader(dataset(other).open("val", workspace.data_root), 1)
    predictor = task.predictor(recipe, network, workspace.cache if share else None)
    count = partial(task.count, recipe)
    return task.scores_type.measure(predictor, samples, count, title, task.constants(recipe))
