"""Training a recipe into a folder of its own."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import seed_everything
from torch import nn
from torch.utils.data import DataLoader

from segaware.atomic import write_atomically
from segaware.models import DeepLab
from segaware.recipes.build import (
    build_network,
    build_stage,
    training_batches,
    trains_on_cached_scores,
    validation_batches,
)
from segaware.recipes.cached import with_cached_scores
from segaware.recipes.files import RecipeError
from segaware.recipes.provenance import provenance
from segaware.recipes.schema import FlowTrain, Recipe, SegmentationRecipe, Train
from segaware.recipes.start import copy_start
from segaware.recipes.trained import CACHE, copy_weights, load_trained, run_folder, weights_path
from segaware.training import find_checkpoint, fit, save_weights

_WORDS = {"title", "published"}  # what a training does not depend on


def train(name: str, recipe: Recipe, runs: Path, root: Path | None, overwrite: bool = False) -> Path:
    """Train a recipe, or go on with a training that was interrupted, and return the file of its weights.

    If the recipe trains nothing, its weights are those it starts from.

    Args:
        name: Name of the recipe.
        recipe: The recipe, with overrides applied.
        runs: Folder that holds a folder per recipe.
        root: Folder that holds the data sets.
        overwrite: Start afresh whatever is there. What was there is only removed once the training can start.

    Raises:
        RecipeError: If the folder holds the training of another recipe, or weights to start from are missing.
        OSError: If the folder cannot be written.
    """
    folder, weights = run_folder(runs, name), weights_path(runs, name)
    goes_on = not overwrite and _holds(folder, recipe)
    if goes_on and weights.is_file():
        return weights
    seed_everything(recipe.seed, workers=True, verbose=False)
    network = build_network(recipe)
    steps: int = 0
    seconds: int | None = None
    if recipe.train is None:
        copy_start(network, recipe, runs, root, None)
        _claim_folder(folder, recipe)
    else:
        steps, seconds = _fit(network, recipe, recipe.train, runs, root, folder, goes_on)
    description = {
        "recipe": name,
        "values": recipe.model_dump(mode="json"),
        "steps": steps,
        "seconds": seconds,
        **provenance(),
    }
    save_weights(weights, network, description)
    return weights


def _fit(
    network: nn.Module,
    recipe: Recipe,
    train: Train | FlowTrain,
    runs: Path,
    root: Path | None,
    folder: Path,
    goes_on: bool,
) -> tuple[int, int | None]:
    """Train a network; return how many steps, and in how many seconds, which a resumed training does not know."""
    cached = trains_on_cached_scores(recipe)
    batches: DataLoader[Any] = training_batches(recipe, root)
    if len(batches) == 0:
        raise RecipeError(f"data.batch_size={recipe.data.batch_size} is more than there are training images")
    validation: DataLoader[Any] = validation_batches(recipe, root, recipe.evaluation.validation_images)
    stage = build_stage(recipe, network)
    checkpoint = find_checkpoint(folder) if goes_on else None
    if checkpoint is None or cached:  # a checkpoint has what is trained
        copy_start(network, recipe, runs, root, batches)
    if not goes_on:
        _claim_folder(folder, recipe)
    if cached:
        assert isinstance(recipe, SegmentationRecipe) and isinstance(network, DeepLab)
        network.to("cuda" if torch.cuda.is_available() else "cpu")
        batches, validation = with_cached_scores(runs / CACHE, recipe, network, batches, validation)
        stage.train()  # what computes scores is in evaluation mode
    # Again, because building a network draws numbers: so recipes that are compared see the same batches.
    seed_everything(recipe.seed, workers=True, verbose=False)
    started = time.perf_counter()
    fit(stage, batches, validation, folder, train.epochs, train.precision, train.gradient_clip, checkpoint, train.steps)
    steps = min(train.epochs * len(batches), train.steps or sys.maxsize)
    return steps, None if checkpoint else round(time.perf_counter() - started)


def load_network(name: str, recipe: Recipe, weights: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained network of a recipe, ready to predict, and the description in its weights file.

    Raises:
        RecipeError: If there are no weights, or they are those of another network.
    """
    tensors, description = load_trained(name, weights)
    ours, theirs = (_network_values(v) for v in (recipe.model_dump(mode="json"), description["values"]))
    if ours != theirs:
        different = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        raise RecipeError(
            f"{weights} was trained by recipe {description['recipe']}, not {name}: they differ in "
            + ", ".join(f"{key} ({theirs.get(key)} there, {ours.get(key)} here)" for key in different)
        )
    network = build_network(recipe)
    copy_weights(tensors, network, str(weights), new=())
    return network.eval(), description


def _network_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that weights depend on, flat."""
    sections = {"model": values.get("model") or {}, "embedding": values.get("embedding") or {}}
    network = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return {"stage": values["stage"], "data.name": values["data"]["name"], **network}


def _holds(folder: Path, recipe: Recipe) -> bool:
    """Tell whether the folder holds this recipe's training, begun or finished, rather than none."""
    stored = folder / "recipe.yaml"
    if not stored.is_file():
        if (folder / "model.safetensors").is_file():
            raise RecipeError(f"{folder} holds weights but no recipe.yaml; pass --overwrite to replace them")
        return False
    values = {key: value for key, value in yaml.safe_load(stored.read_text()).items() if key not in _WORDS}
    if values != recipe.model_dump(mode="json", exclude=_WORDS):
        raise RecipeError(
            f"{folder} holds a training with other values than this recipe (compare {stored}); "
            "pass --overwrite to replace it, or another --runs folder to keep both"
        )
    return True


def _claim_folder(folder: Path, recipe: Recipe) -> None:
    """Remove what an earlier training left in the folder, nothing else, and write the recipe into it."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("recipe.yaml", "model.safetensors", "scores.*", "cost.json", "logs/*", "checkpoints/*.ckpt"):
        for old in folder.glob(pattern):
            old.unlink()
    values = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    write_atomically(folder / "recipe.yaml", values.encode())
