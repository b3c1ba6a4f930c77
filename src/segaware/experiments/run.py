"""Training a recipe into a folder of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from torch import nn
from torch.utils.data import DataLoader

from segaware.atomic import write_atomically
from segaware.experiments.build import build_network, build_stage, open_data
from segaware.experiments.start import copy_start
from segaware.experiments.tasks import task_of
from segaware.experiments.trained import copy_weights, load_trained
from segaware.experiments.workspace import Workspace
from segaware.locking import locked
from segaware.provenance import provenance
from segaware.recipes.files import RecipeError, read_stored_recipe
from segaware.recipes.schema import Recipe, Train
from segaware.training import fit, save_weights, seed_everything, shuffled_batches, usable_checkpoint

_WORDS = {"title", "published"}  # what a training does not depend on


def train(name: str, recipe: Recipe, workspace: Workspace, overwrite: bool = False) -> Path:
    """Train a recipe, or go on with a training that was interrupted, and return the file of its weights.

    If the recipe trains nothing, its weights are those it starts from.

    Args:
        name: Name of the recipe.
        recipe: The recipe, with overrides applied.
        workspace: Where to write, and where the data sets are.
        overwrite: Start afresh whatever is there. What was there is only removed once the training can start.

    Raises:
        RecipeError: If the folder holds the training of another recipe, or weights to start from are missing.
        LockedError: If another process trains there.
        ValueError: If the weights of a finished training are damaged.
        OSError: If the folder cannot be written.
    """
    folder, weights = workspace.folder(name), workspace.weights(name)
    if not overwrite and _holds(folder, recipe) and weights.is_file():
        load_trained(name, weights)  # says so if they are damaged
        return weights
    with _claimed(folder):
        goes_on = not overwrite and _holds(folder, recipe)
        if not (goes_on and weights.is_file()):  # which another process may have written just now
            _train(name, recipe, workspace, goes_on)
    return weights


def _train(name: str, recipe: Recipe, workspace: Workspace, goes_on: bool) -> None:
    folder = workspace.folder(name)
    seed_everything(recipe.seed)
    network = build_network(recipe)
    steps: int = 0
    seconds: int | None = None
    if recipe.train is None:
        copy_start(network, recipe, workspace, None)
        _clear_folder(folder, recipe)
    else:
        steps, seconds = _fit(network, recipe, recipe.train, workspace, folder, goes_on)
    description = {
        "recipe": name,
        "values": recipe.model_dump(mode="json"),
        "steps": steps,
        "seconds": seconds,
        **provenance(),
    }
    save_weights(workspace.weights(name), network, description)


def _fit(
    network: nn.Module, recipe: Recipe, train: Train, workspace: Workspace, folder: Path, goes_on: bool
) -> tuple[int, int | None]:
    """Train a network; return how many steps, and in how many seconds, which a resumed training does not know."""
    data = recipe.data
    samples = open_data(recipe, "train", workspace.data_root)
    if len(samples) < data.batch_size:  # type: ignore[arg-type]
        raise RecipeError(f"data.batch_size={data.batch_size} is more than there are training images")
    validation = open_data(recipe, "val", workspace.data_root, recipe.evaluation.validation_images)
    stage = build_stage(recipe, network)
    checkpoint = usable_checkpoint(folder, stage) if goes_on else None
    if checkpoint is None or stage.network is not network:  # a checkpoint has what the stage trains
        copy_start(network, recipe, workspace, shuffled_batches(samples, data.batch_size, recipe.seed))
    if not goes_on:
        _clear_folder(folder, recipe)
    prepared, validation = task_of(recipe).training_samples(recipe, network, samples, validation, workspace.cache)
    batches = shuffled_batches(prepared, data.batch_size, recipe.seed, data.workers if prepared is samples else 0)
    stage.train()  # what computes samples with the network may have set it to evaluation
    started = time.perf_counter()
    steps = fit(
        stage,
        batches,
        DataLoader(validation, 1),
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

    Args:
        name: Name of the recipe.
        recipe: The recipe.
        weights: The file of its weights, as `train` returns it.

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
    copy_weights(tensors, network, str(weights))
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
