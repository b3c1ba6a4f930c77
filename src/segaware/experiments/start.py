"""The weights that a training starts from."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from segaware.experiments.tasks import task_of
from segaware.experiments.trained import copy_weights, load_trained
from segaware.experiments.workspace import Workspace
from segaware.nn import EmbeddingNet, FastEmbeddingNet, load_embedding, prune_embedding
from segaware.nn.bundled import BundledEmbedding
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe

_HUB = "hub:"
_PRUNING_BATCHES = 6
SHIPPED = "segaware"  # as start.embedding: the weights that come with the package for the recipe's network


def find_imagenet(recipe: Recipe, root: Path | None) -> dict[str, Path]:
    """Return the files of ImageNet weights that a recipe starts from, by the key of its `start`: vgg or resnet.

    Raises:
        RecipeError: If there is no such file, or it cannot be fetched.
    """
    names = {key: getattr(recipe.start, key, None) for key in ("vgg", "resnet")}
    return {key: find_weights(f"start.{key}", name, root) for key, name in names.items() if name is not None}


def find_weights(key: str, name: str, root: Path | None) -> Path:
    """Return the file of weights that a value of a recipe names.

    Args:
        key: Key of the value, for the message of an error.
        name: A path, as it is or below `root`; or `hub:REPOSITORY/FILE`, such as
            "hub:timm/vgg16.tv_in1k/model.safetensors", which is fetched from the Hugging Face hub once.
        root: Folder that holds the data sets.

    Raises:
        RecipeError: If there is no such file, or it cannot be fetched.
    """
    if name.startswith(_HUB):
        return _fetch(key, name)
    places = [Path(name)] if root is None else [Path(name), root / name]
    for path in places:
        if path.is_file():
            return path
    below = f"nor {places[-1]}" if root is not None else "and there is no data root to look in (--data-root FOLDER)"
    raise RecipeError(f"{key}: there is no file {places[0].absolute()}, {below}")


def _fetch(key: str, name: str) -> Path:
    owner, _, rest = name.removeprefix(_HUB).partition("/")
    repository, _, file = rest.partition("/")
    if not (owner and repository and file):
        raise RecipeError(f"{key}: must read {_HUB}OWNER/NAME/FILE, got {name!r}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise RecipeError(f"{key}={name} needs huggingface_hub: pip install huggingface_hub") from error
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file))
    except Exception as error:  # errors of several HTTP libraries, which share no base
        raise RecipeError(
            f"{key}={name} cannot be fetched, and is not in the cache of earlier downloads: {error}"
        ) from error


def check_start(recipe: Recipe) -> None:
    """Raise RecipeError if a recipe trains nothing, and does not start from what gives its network trained weights."""
    if recipe.train is None:
        task_of(recipe).check_untrained(recipe)


def copy_start(network: nn.Module, recipe: Recipe, workspace: Workspace, batches: DataLoader[Any] | None) -> None:
    """Copy the weights that a recipe starts from into its network.

    Args:
        network: The untrained network.
        recipe: The recipe.
        workspace: Where the weights of other recipes are.
        batches: Training batches, the first of which calibrates an embedding network; None if nothing is trained.

    Raises:
        RecipeError: If weights are missing, or those of another recipe do not fit the network.
        ValueError: If ImageNet weights do not fit.
    """
    check_start(recipe)
    for key, path in find_imagenet(recipe, workspace.data_root).items():
        load = getattr(network, f"load_{key}", None)
        if load is None:
            raise RecipeError(f"start.{key}: a {type(network).__name__} takes no such weights")
        load(path)
    if isinstance(network, BundledEmbedding) and batches is not None:
        network.calibrate(next(iter(batches)).image)
    pruned = getattr(recipe.start, "pruned", None)
    if pruned is not None:
        _prune(network, pruned, batches)
    model, embedding = started_from(recipe)
    if model is not None:
        tensors, _ = load_trained(model, workspace.weights(model))
        copy_weights(tensors, network, model, is_whole=False)
    if embedding is not None:
        if recipe.embedding is None:
            raise RecipeError("start.embedding is given, but embedding is null: nothing would use it")
        target = network.get_submodule("embedding")
        if embedding != SHIPPED:
            tensors, _ = load_trained(embedding, workspace.weights(embedding))
        elif isinstance(target, BundledEmbedding):
            tensors = type(target).from_pretrained().state_dict()
        else:
            raise RecipeError(f"start.embedding: no weights of a {type(target).__name__} come with segaware")
        copy_weights(tensors, target, embedding)


def _prune(network: nn.Module, name: str, batches: DataLoader[Any] | None) -> None:
    """Give a network the weights of another, as far as it has channels on the images of the first batches."""
    try:
        teacher = load_embedding(name)
    except (FileNotFoundError, ValueError) as error:
        raise RecipeError(f"start.pruned: {error}") from error
    if not isinstance(teacher, EmbeddingNet) or batches is None:
        raise RecipeError(
            f"start.pruned: a {type(network).__name__} cannot be pruned from a {type(teacher).__name__}; wanted is a "
            "network that is trained, from an EmbeddingNet"
        )
    if isinstance(network, EmbeddingNet):
        try:
            network.copy_from(teacher)
        except ValueError as error:
            raise RecipeError(f"start.pruned: {error}") from error
        return
    assert isinstance(network, FastEmbeddingNet)
    images = torch.cat([batch.image for batch in itertools.islice(batches, _PRUNING_BATCHES)])
    prune_embedding(teacher, network, images)


def started_from(recipe: Recipe) -> tuple[str | None, str | None]:
    """Return the recipes whose trained network, and whose trained embedding network, a recipe starts from."""
    return getattr(recipe.start, "model", None), getattr(recipe.start, "embedding", None)
