"""What trainings have left: where it lies, and that it is theirs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from segaware.recipes.files import RecipeError
from segaware.recipes.trained import load_trained
from segaware.strict_json import strict_json

from .tiny_recipes import tiny

VALUES = tiny("demo/baseline").model_dump(mode="json")


def test_weights_of_a_recipe(tmp_path: Path) -> None:
    description = {"recipe": "demo/baseline", "values": VALUES}
    save_file({"weight": torch.ones(2)}, tmp_path / "a.safetensors", {"segaware": strict_json(description)})
    assert load_trained("demo/baseline", tmp_path / "a.safetensors")[1] == description


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"recipe": "demo/baseline"},
        {"values": VALUES},
        {"recipe": None, "values": VALUES},
        {"recipe": "demo/baseline", "values": [1]},
        {"recipe": "demo/baseline", "values": {**VALUES, "stage": None}},
        {"recipe": "demo/baseline", "values": {**VALUES, "data": "scenes"}},
        {"recipe": "demo/baseline", "values": {**VALUES, "data": {}}},
        {"recipe": "demo/baseline", "values": {**VALUES, "model": [1]}},
    ],
)
def test_weights_that_do_not_say_of_which_recipe(tmp_path: Path, description: dict[str, Any]) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.ones(2)}, path, {"segaware": strict_json(description)})
    with pytest.raises(RecipeError, match=r"a.safetensors does not say what recipe it was trained by"):
        load_trained("demo/baseline", path)
