"""The weights that a training starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from segaware.experiments.trained import copy_weights, load_trained, weights_path
from segaware.models import DeepLabV2
from segaware.nn import EmbeddingNet
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import EmbeddingRecipe, Recipe, SharpeningRecipe

_HUB = "hub:"
SHIPPED = "segaware"  # as start.embedding: the embedding network that comes with the package


def find_imagenet(recipe: Recipe, root: Path | None) -> Path | None:
    """Return the file of ImageNet weights that a recipe starts from, by its `start.vgg` or `start.resnet`, if any.

    Raises:
        RecipeError: If there is no such file, or it cannot be fetched.
    """
    for key in ("vgg", "resnet"):
        name = getattr(recipe.start, key, None)
        if name is not None:
            return find_weights(f"start.{key}", name, root)
    return None


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
    if isinstance(recipe, EmbeddingRecipe) or recipe.train is not None or recipe.start.model is not None:
        return
    if not isinstance(recipe, SharpeningRecipe):  # which has a filter and a CRF, whose values are in the recipe
        raise RecipeError(f"recipe {recipe.title!r} trains nothing (train is null), but has no start.model")
    if recipe.embedding is not None and recipe.embedding.kind == "learned" and recipe.start.embedding is None:
        raise RecipeError(f"recipe {recipe.title!r} trains nothing (train is null), but its embedding has no start")


def copy_start(
    network: nn.Module, recipe: Recipe, runs: Path, root: Path | None, batches: DataLoader[Any] | None
) -> None:
    """Copy the weights that a recipe starts from into its network.

    Args:
        network: The untrained network.
        recipe: The recipe.
        runs: Folder that holds a folder per recipe.
        root: Folder that holds the data sets.
        batches: Training batches, the first of which calibrates an embedding network; None if nothing is trained.

    Raises:
        RecipeError: If weights are missing, or those of another recipe do not fit the network.
        ValueError: If ImageNet weights do not fit.
    """
    check_start(recipe)
    imagenet = find_imagenet(recipe, root)
    if imagenet is not None:
        load = network.load_resnet if isinstance(network, DeepLabV2) else network.load_vgg
        load(imagenet)  # type: ignore[operator]
    if isinstance(network, EmbeddingNet) and batches is not None:
        network.calibrate(next(iter(batches)).image)
    if not isinstance(recipe, EmbeddingRecipe):
        model, embedding = recipe.start.model, recipe.start.embedding
        if model is not None:
            tensors, _ = load_trained(model, weights_path(runs, model))
            copy_weights(tensors, network, model, new=("embedding.", "refinement.", "hardness"))
        if embedding is not None:
            if recipe.embedding is None:
                raise RecipeError("start.embedding is given, but embedding is null: nothing would use it")
            if embedding == SHIPPED:
                tensors = EmbeddingNet.from_pretrained().state_dict()
            else:
                tensors, _ = load_trained(embedding, weights_path(runs, embedding))
            copy_weights(tensors, network.get_submodule("embedding"), embedding, new=())
