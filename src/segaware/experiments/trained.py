"""The weights that trainings have left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from segaware.nn import parameter_groups
from segaware.recipes.files import RecipeError
from segaware.training import load_weights


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


def copy_weights(tensors: dict[str, Tensor], network: nn.Module, source: str, is_whole: bool = True) -> None:
    """Load all weights of a source.

    Args:
        tensors: The weights by name.
        network: The network.
        source: Where they come from, for the message of an error.
        is_whole: Whether they are all that the network has. Otherwise what segmentation-awareness adds may be new to
            it: all that is not in the parameter groups "base" and "head", see `segaware.nn.parameter_groups`.

    Raises:
        RecipeError: If they do not fit.
    """
    try:
        missing, unexpected = network.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        first = str(error).split("\n\t")[1]  # below a headline, one line for every tensor
        raise RecipeError(f"the weights of {source} do not fit this recipe's network: {first}") from error
    if not is_whole:
        groups = parameter_groups(network)
        missing = [key for key in missing if key in groups.get("base", {}) or key in groups.get("head", {})]
    if missing or unexpected:
        raise RecipeError(
            f"the weights of {source} do not fit this recipe's network: "
            f"missing {missing[:3]}, left over {unexpected[:3]}"
        )
