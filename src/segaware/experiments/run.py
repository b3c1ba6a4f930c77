"""Training a recipe into a folder of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import seed_everything
from torch import nn
from torch.utils.data import DataLoader, Dataset

from segaware.atomic import write_atomically
from segaware.experiments.build import (
    build_network,
    build_stage,
    open_data,
    trains_on_cached_scores,
)
from segaware.experiments.cached import with_cached_scores
from segaware.experiments.start import copy_start
from segaware.experiments.trained import CACHE, copy_weights, load_trained, run_folder, weights_path
from segaware.locking import locked
from segaware.models import DeepLab
from segaware.provenance import provenance
from segaware.recipes.files import RecipeError, read_stored_recipe
from segaware.recipes.schema import Recipe, SegmentationRecipe, Train
from segaware.training import fit, save_weights, shuffled_batches, usable_checkpoint

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
        LockedError: If another process trains there.
        ValueError: If the weights of a finished training are damaged.
        OSError: If the folder cannot be written.
    """
    folder, weights = run_folder(runs, name), weights_path(runs, name)
    if not overwrite and _holds(folder, recipe) and weights.is_file():
        load_trained(name, weights)  # says so if they are damaged
        return weights
    with _claimed(folder):
        goes_on = not overwrite and _holds(folder, recipe)
        if not (goes_on and weights.is_file()):  # which another process may have written just now
            _train(name, recipe, runs, root, goes_on)
    return weights


def _train(name: str, recipe: Recipe, runs: Path, root: Path | None, goes_on: bool) -> None:
    folder = run_folder(runs, name)
    seed_everything(recipe.seed, workers=True, verbose=False)
    network = build_network(recipe)
    steps: int = 0
    seconds: int | None = None
    if recipe.train is None:
        copy_start(network, recipe, runs, root, None)
        _clear_folder(folder, recipe)
    else:
        steps, seconds = _fit(network, recipe, recipe.train, runs, root, folder, goes_on)
    description = {
        "recipe": name,
        "values": recipe.model_dump(mode="json"),
        "steps": steps,
        "seconds": seconds,
        **provenance(),
    }
    save_weights(weights_path(runs, name), network, description)


def _fit(
    network: nn.Module,
    recipe: Recipe,
    train: Train,
    runs: Path,
    root: Path | None,
    folder: Path,
    goes_on: bool,
) -> tuple[int, int | None]:
    """Train a network; return how many steps, and in how many seconds, which a resumed training does not know."""
    data = recipe.data
    cached = trains_on_cached_scores(recipe)
    images: Dataset[Any] = open_data(recipe, "train", root)
    if len(images) < data.batch_size:  # type: ignore[arg-type]
        raise RecipeError(f"data.batch_size={data.batch_size} is more than there are training images")
    scored: Dataset[Any] = open_data(recipe, "val", root, recipe.evaluation.validation_images)
    stage = build_stage(recipe, network)
    checkpoint = usable_checkpoint(folder, stage) if goes_on else None
    if checkpoint is None or cached:  # a checkpoint has what is trained
        copy_start(network, recipe, runs, root, shuffled_batches(images, data.batch_size, recipe.seed))
    if not goes_on:
        _clear_folder(folder, recipe)
    workers = data.workers
    if cached:
        assert isinstance(recipe, SegmentationRecipe) and isinstance(network, DeepLab)
        network.to("cuda" if torch.cuda.is_available() else "cpu")
        images, scored = with_cached_scores(runs / CACHE, recipe, network, images, scored)
        workers = 0  # scores are computed in this process
        stage.train()  # what computes scores is in evaluation mode
    batches = shuffled_batches(images, data.batch_size, recipe.seed, workers)
    started = time.perf_counter()
    steps = fit(
        stage,
        batches,
        DataLoader(scored, 1),
        folder,
        train.epochs,
        train.precision,
        train.gradient_clip,
        checkpoint,
        train.steps,
        recipe.seed,
    )
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


# All that a training and the commands that use it write into a run's folder; the recipe last, so that files that are
# there without it are not a run's.
_FILES = (
    *("checkpoints/last.ckpt", "checkpoints/interrupted.ckpt", "model.safetensors", "scores.npz", "scores.json"),
    *("cost.json", "logs/hparams.yaml", "logs/metrics.csv", "logs/metrics_[0-9]*.csv", "logs/events.out.tfevents.*"),
    "recipe.yaml",
)


def _files(folder: Path) -> list[Path]:
    return [path for pattern in _FILES for path in sorted(folder.glob(pattern))]


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a run's folder; what is made for that goes again if it stays empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / ".lock", f"the run {folder}"):
            yield
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


def _holds(folder: Path, recipe: Recipe) -> bool:
    """Tell whether the folder holds this recipe's training, begun or finished, rather than none."""
    stored = folder / "recipe.yaml"
    if not stored.is_file():
        if (folder / "model.safetensors").is_file():
            raise RecipeError(f"{folder} holds weights but no recipe.yaml; pass --overwrite to replace them")
        if others := _files(folder):
            raise RecipeError(
                f"{folder} holds {others[0].relative_to(folder)} but no recipe.yaml, so it is not known whose that is; "
                "pass another --runs folder, or --overwrite to replace it"
            )
        return False
    values = {key: value for key, value in read_stored_recipe(stored).items() if key not in _WORDS}
    if values != recipe.model_dump(mode="json", exclude=_WORDS):
        raise RecipeError(
            f"{folder} holds a training with other values than this recipe (compare {stored}); "
            "pass --overwrite to replace it, or another --runs folder to keep both"
        )
    return True


def _clear_folder(folder: Path, recipe: Recipe) -> None:
    """Remove what an earlier training left in the folder, nothing else, and write the recipe into it."""
    for old in _files(folder):
        old.unlink()
    values = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    write_atomically(folder / "recipe.yaml", values.encode())
