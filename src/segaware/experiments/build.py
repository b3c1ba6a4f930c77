"""From the values of a recipe to its network and its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from segaware.experiments.tasks import task_of
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe
from segaware.training import Stage


def build_network(recipe: Recipe) -> nn.Module:
    """Return the untrained network of a recipe, in the memory format that convolutions are fastest in.

    Args:
        recipe: The recipe.

    Raises:
        RecipeError: If the options of the network do not fit together.
    """
    try:
        return task_of(recipe).network(recipe).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    except ValueError as error:
        raise RecipeError(f"recipe {recipe.title!r}: {error}") from error


def build_stage(recipe: Recipe, network: nn.Module) -> Stage:
    """Return the training stage of a recipe around its network.

    Raises:
        RecipeError: If the recipe trains nothing.
    """
    if recipe.train is None:
        raise RecipeError(f"recipe {recipe.title!r} trains nothing: its train is null")
    return task_of(recipe).stage(recipe, network)


def open_data(
    recipe: Recipe, split: Literal["train", "val"], data_root: Path | None, limit: int | None = None
) -> Dataset[Any]:
    """Return a recipe's samples: varied at random for training, as they are for validation.

    Args:
        recipe: The recipe.
        split: Which samples.
        data_root: Folder that holds the data sets.
        limit: How many of them to take, spread evenly over the split; None takes all.

    Raises:
        RecipeError: If values of the recipe do not fit the data set.
        DataError: If files are missing.
    """
    dataset = task_of(recipe).samples(recipe, split, data_root)
    total = len(dataset)  # type: ignore[arg-type]
    if limit is None or limit >= total:
        return dataset
    return Subset(dataset, [i * total // limit for i in range(limit)])


def validation_batches(recipe: Recipe, data_root: Path | None) -> DataLoader[Any]:
    """Return the samples that a recipe is scored on one by one, at their own size and in order."""
    return DataLoader(open_data(recipe, "val", data_root, recipe.evaluation.images), 1)
