"""Training a recipe into a folder of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from segaware import ranks
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
from segaware.training import (
    ONE_DEVICE,
    Devices,
    check_together,
    described,
    fit,
    save_weights,
    seed_everything,
    shuffled_batches,
    usable_checkpoint,
)

_NOT_TRAINED = {"title", "published", "data.workers"}  # what a training does not depend on


def train(
    name: str, recipe: Recipe, workspace: Workspace, overwrite: bool = False, devices: Devices = ONE_DEVICE
) -> Path:
    """Train a recipe, or go on with a training that was interrupted, and return the file of its weights.

    If the recipe trains nothing, its weights are those it starts from.

    Args:
        name: Name of the recipe.
        recipe: The recipe, with overrides applied.
        workspace: Where to write, and where the data sets are.
        overwrite: Start afresh whatever is there. What was there is only removed once the training can start.
        devices: What to train on; for several processes, call this in all of them, when they are `launched`.

    Raises:
        RecipeError: If the folder holds the training of another recipe, or weights to start from are missing.
        LockedError: If another process trains there.
        ValueError: If the weights of a finished training are damaged, or several processes cannot train as one does.
        OSError: If the folder cannot be written.
    """
    with ExitStack() as claims:
        goes_on = ranks.once(lambda: _begin(name, recipe, workspace, overwrite, claims))
        if goes_on is not None:
            _train(name, recipe, workspace, goes_on, devices)
    return workspace.weights(name)


def _begin(name: str, recipe: Recipe, workspace: Workspace, overwrite: bool, claims: ExitStack) -> bool | None:
    """Claim the folder for a training; return whether there is one to go on with, None if it is finished."""
    folder, weights = workspace.folder(name), workspace.weights(name)
    if not overwrite and _holds(folder, recipe) and weights.is_file():
        load_trained(name, weights)  # says so if they are damaged
        if not _is_scored_otherwise(folder, recipe):
            return None
    claims.enter_context(_claimed(folder))
    goes_on = not overwrite and _holds(folder, recipe)
    if goes_on and _is_scored_otherwise(folder, recipe):
        _clear_scores(folder, recipe)
    return None if goes_on and weights.is_file() else goes_on  # which another process may have written just now


def _train(name: str, recipe: Recipe, workspace: Workspace, goes_on: bool, devices: Devices) -> None:
    folder = workspace.folder(name)
    seed_everything(recipe.seed)
    network = build_network(recipe)
    steps: int = 0
    seconds: int | None = None
    if recipe.train is None:
        copy_start(network, recipe, workspace, None)
        ranks.once(lambda: _clear_folder(folder, recipe))
    else:
        steps, seconds = _fit(network, recipe, recipe.train, workspace, folder, goes_on, devices)
    description = {
        "recipe": name,
        "values": recipe.model_dump(mode="json"),
        "steps": steps,
        "seconds": seconds,
        "devices": described(),
        **provenance(),
    }
    ranks.once(lambda: save_weights(workspace.weights(name), network, description))


def _check_batch_size(recipe: Recipe, samples: Dataset[Any]) -> None:
    size, count = recipe.data.batch_size, ranks.world_size()
    if len(samples) < size:  # type: ignore[arg-type]
        raise RecipeError(f"data.batch_size={size} is more than there are training images")
    if size % count:
        raise RecipeError(f"data.batch_size={size} is not a multiple of the {count} processes that share it")


def _fit(
    network: nn.Module,
    recipe: Recipe,
    train: Train,
    workspace: Workspace,
    folder: Path,
    goes_on: bool,
    devices: Devices,
) -> tuple[int, int | None]:
    """Train a network; return how many steps, and in how many seconds, which a resumed training does not know."""
    data = recipe.data
    samples = open_data(recipe, "train", workspace.data_root)
    ranks.once(lambda: _check_batch_size(recipe, samples))
    validation = open_data(recipe, "val", workspace.data_root, recipe.evaluation.validation_images)
    stage = build_stage(recipe, network)
    check_together(stage)
    checkpoint = ranks.once(lambda: usable_checkpoint(folder, stage) if goes_on else None)
    if checkpoint is None or stage.network is not network:  # a checkpoint has what the stage trains
        copy_start(network, recipe, workspace, shuffled_batches(samples, data.batch_size, recipe.seed))
    if not goes_on:
        ranks.once(lambda: _clear_folder(folder, recipe))
    prepared, validation = task_of(recipe).training_samples(recipe, network, samples, validation, workspace.cache)
    workers = data.workers if prepared is samples else 0
    batches = shuffled_batches(prepared, data.batch_size, recipe.seed, workers, ranks.rank(), ranks.world_size())
    count = len(validation)  # type: ignore[arg-type]
    share = ranks.share(count) or range(count)  # all for those without one: every image counts equally often
    stage.train()  # what computes samples with the network may have set it to evaluation
    started = time.perf_counter()
    steps = fit(
        stage,
        batches,
        DataLoader(Subset(validation, share), 1),
        folder,
        train.epochs,
        train.precision,
        train.gradient_clip,
        checkpoint,
        train.steps,
        recipe.seed,
        devices,
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
    different = _differences(*(_network_values(v) for v in (description["values"], recipe.model_dump(mode="json"))))
    if different:
        trained_by = f"{weights} was trained by recipe {description['recipe']}"
        raise RecipeError(f"{trained_by}, not {name}: they differ in {different}")
    network = build_network(recipe)
    copy_weights(tensors, network, str(weights))
    return network.eval(), description


def _network_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that weights depend on, flat."""
    network = _flat({key: values.get(key) for key in ("model", "embedding")})
    return {"stage": values["stage"], "data.name": values["data"]["name"], **network}


def _training_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a training depends on, flat: not the words, nor what is scored, nor who loads the data."""
    scored = {"evaluation.precision"} if values.get("train_on") in ("cached_features", "cached_scores") else set()
    return {
        key: value
        for key, value in _flat(values).items()
        if key in scored or (key not in _NOT_TRAINED and not key.startswith("evaluation."))
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """Return in what flat values differ, as text; nothing if they do not."""
    different = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    return ", ".join(f"{key} ({theirs.get(key)} there, {ours.get(key)} here)" for key in different)


_SCORES = ("scores.npz", "scores_*.npz", "scores.json", "cost.json")
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
    different = _differences(
        *(_training_values(values) for values in (read_stored_recipe(stored), recipe.model_dump(mode="json")))
    )
    if different:
        raise RecipeError(
            f"{folder} holds a training with other values than this recipe: {different}; "
            "pass --overwrite to replace it, or another --runs folder to keep both"
        )
    return True


def _is_scored_otherwise(folder: Path, recipe: Recipe) -> bool:
    stored = read_stored_recipe(folder / "recipe.yaml")
    return stored.get("evaluation") != recipe.model_dump(mode="json")["evaluation"]


def _clear_scores(folder: Path, recipe: Recipe) -> None:
    """Remove what was measured with other values of the evaluation, and write those of the recipe."""
    for pattern in _SCORES:
        for path in folder.glob(pattern):
            path.unlink()
    _write_recipe(folder, recipe)


def _clear_folder(folder: Path, recipe: Recipe) -> None:
    """Remove what an earlier training left in the folder, nothing else, and write the recipe into it."""
    for old in _files(folder):
        old.unlink()
    _write_recipe(folder, recipe)


def _write_recipe(folder: Path, recipe: Recipe) -> None:
    values = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    write_atomically(folder / "recipe.yaml", values.encode())
