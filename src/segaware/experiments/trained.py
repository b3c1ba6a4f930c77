"""What trainings have left: a folder for each recipe, with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from segaware.recipes.files import RecipeError
from segaware.recipes.names import CACHE, run_name
from segaware.training import load_weights

__all__ = ["CACHE", "copy_weights", "is_up_to_date", "load_trained", "run_folder", "weights_path"]


def run_folder(runs: Path, name: str) -> Path:
    """Return the folder that training the recipe `name`, or the recipe file of that path, writes.

    Raises:
        RecipeError: If it would not be below `runs`.
    """
    try:
        return runs / run_name(name)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def weights_path(runs: Path, name: str) -> Path:
    """Return where the trained weights of the recipe `name` are."""
    return run_folder(runs, name) / "model.safetensors"


def is_up_to_date(path: Path, weights: Path) -> bool:
    """Tell whether what was computed from weights is there, and not older than they."""
    return path.is_file() and path.stat().st_mtime >= weights.stat().st_mtime


def load_trained(name: str, weights: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the trained weights of the recipe `name` and their description.

    Raises:
        RecipeError: If there are none, or they do not say of which recipe they are.
        ValueError: If the file is damaged.
        OSError: If it may not be read.
    """
    try:
        tensors, description = load_weights(weights)
    except FileNotFoundError as error:
        again = "with the same --runs, and data= where it was given"
        raise RecipeError(f"{error}; run `segaware train {name}` first, {again}") from error
    if not _is_of_a_recipe(description):
        raise RecipeError(f"{weights} does not say what recipe it was trained by, or it is damaged")
    return tensors, description


def _is_of_a_recipe(description: dict[str, Any]) -> bool:
    values = description.get("values")
    return (
        isinstance(description.get("recipe"), str)
        and isinstance(values, dict)
        and isinstance(values.get("stage"), str)
        and isinstance(values.get("data"), dict)
        and isinstance(values["data"].get("name"), str)
        and all(isinstance(values.get(section) or {}, dict) for section in ("model", "embedding"))
    )


def copy_weights(tensors: dict[str, Tensor], network: nn.Module, source: str, new: tuple[str, ...]) -> None:
    """Load all weights of a source; only parts whose name starts or ends as told may be new to the network.

    Raises:
        RecipeError: If they do not fit.
    """
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
