"""Training a recipe into a folder of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import seed_everything
from torch import nn

from segaware.nn import EmbeddingNet
from segaware.recipes.build import build_network, build_stage, training_batches, validation_batches
from segaware.recipes.files import RecipeError
from segaware.recipes.provenance import provenance
from segaware.recipes.schema import Recipe, SegmentationRecipe
from segaware.training import find_checkpoint, fit, load_weights, save_weights
from segaware.viz import write_atomically


def weights_path(runs: Path, name: str) -> Path:
    """Return where the trained weights of the recipe `name` are."""
    return run_folder(runs, name) / "model.safetensors"


def run_folder(runs: Path, name: str) -> Path:
    """Return the folder that training the recipe `name`, or the recipe file of that path, writes."""
    return runs / (Path(name).stem if name.endswith((".yaml", ".yml")) else name)


def train(name: str, recipe: Recipe, runs: Path, root: Path | None, overwrite: bool = False) -> Path:
    """Train a recipe, or go on with a training that was interrupted, and return the file of its weights.

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
    batches = training_batches(recipe, root)
    if len(batches) == 0:
        raise RecipeError(f"data.batch_size={recipe.data.batch_size} is more than there are training images")
    validation = validation_batches(recipe, root, recipe.evaluation.validation_images)
    network = build_network(recipe)
    stage = build_stage(recipe, network)
    checkpoint = find_checkpoint(folder) if goes_on else None
    if checkpoint is None:
        _start(network, recipe, runs, batches)
    if not goes_on:
        _claim_folder(folder, recipe)
    # Again, because building a network draws numbers: so recipes that are compared see the same batches.
    seed_everything(recipe.seed, workers=True, verbose=False)
    started = time.perf_counter()
    fit(
        stage,
        batches,
        validation,
        folder,
        recipe.train.epochs,
        recipe.train.precision,
        recipe.train.gradient_clip,
        checkpoint,
    )
    description = {
        "recipe": name,
        "values": recipe.model_dump(mode="json"),
        "steps": recipe.train.epochs * len(batches),
        # A resumed training has spent time that is not known any more.
        "seconds": None if checkpoint else round(time.perf_counter() - started),
        **provenance(),
    }
    save_weights(weights, network, description)
    return weights


def load_network(name: str, recipe: Recipe, weights: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained network of a recipe, ready to predict, and the description in its weights file.

    Raises:
        RecipeError: If there are no weights, or they are those of another network.
    """
    tensors, description = _load(name, weights)
    ours, theirs = (_network_values(v) for v in (recipe.model_dump(mode="json"), description["values"]))
    if ours != theirs:
        different = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        raise RecipeError(
            f"{weights} was trained by recipe {description['recipe']}, not {name}: they differ in "
            + ", ".join(f"{key} ({theirs.get(key)} there, {ours.get(key)} here)" for key in different)
        )
    network = build_network(recipe)
    _copy(tensors, network, str(weights), new=())
    return network.eval(), description


def _load(name: str, weights: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        return load_weights(weights)
    except FileNotFoundError as error:
        raise RecipeError(f"{error}; run `segaware train {name}` first") from error


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
    if yaml.safe_load(stored.read_text()) != recipe.model_dump(mode="json"):
        raise RecipeError(
            f"{folder} holds a training with other values than this recipe (compare {stored}); "
            "pass --overwrite to replace it, or another --runs folder to keep both"
        )
    return True


def _claim_folder(folder: Path, recipe: Recipe) -> None:
    """Remove what an earlier training left in the folder, nothing else, and write the recipe into it."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("recipe.yaml", "model.safetensors", "scores.*", "logs/*", "checkpoints/*.ckpt"):
        for old in folder.glob(pattern):
            old.unlink()
    values = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    write_atomically(folder / "recipe.yaml", values.encode())


def _start(network: nn.Module, recipe: Recipe, runs: Path, batches: Any) -> None:
    """Copy the weights that a training starts from into the network."""
    if recipe.start.vgg is not None:
        network.load_vgg(recipe.start.vgg)  # type: ignore[operator]
    if isinstance(network, EmbeddingNet):
        network.calibrate(next(iter(batches)).image)
    if isinstance(recipe, SegmentationRecipe):
        if recipe.start.model is not None:
            tensors, _ = _load(recipe.start.model, weights_path(runs, recipe.start.model))
            _copy(tensors, network, recipe.start.model, new=("embedding.", "filter.", "hardness"))
        if recipe.start.embedding is not None:
            if recipe.embedding is None:
                raise RecipeError("start.embedding is given, but embedding is null: nothing would use it")
            tensors, _ = _load(recipe.start.embedding, weights_path(runs, recipe.start.embedding))
            _copy(tensors, network.get_submodule("embedding"), recipe.start.embedding, new=())


def _copy(tensors: dict[str, torch.Tensor], network: nn.Module, source: str, new: tuple[str, ...]) -> None:
    """Load all weights of a source; only parts whose name starts or ends as told may be new to the network."""
    try:
        missing, unexpected = network.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        first = str(error).split("\n\t")[1]  # below a headline, one line for every tensor
        raise RecipeError(f"the weights of {source} do not fit this recipe's network: {first}") from error
    missing = [key for key in missing if not (key.startswith(new) or key.endswith(new))]
    if missing or unexpected:
        raise RecipeError(
            f"the weights of {source} do not fit this recipe's network: "
            f"missing {missing[:3]}, left over {unexpected[:3]}"
        )
