"""What trainings have left: where it lies, and that it is theirs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from segaware.experiments.start import copy_start
from segaware.experiments.trained import load_trained
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import RecipeError, load_recipe
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


@pytest.mark.parametrize(
    ("name", "folder"), [("demo/baseline", "demo/baseline"), ("a/my.recipe.yaml", "my.recipe"), ("/a/b.yml", "b")]
)
def test_run_folder(name: str, folder: str) -> None:
    assert Workspace(Path("runs")).folder(name) == Path("runs") / folder


@pytest.mark.parametrize(
    "name",
    ["", "/x", "../x", "a/../x", "a/..", ".", "a//b", "a/", "..\\x", "C:x", "...yaml", "/a/...yaml", "cache/x"],
)
def test_run_folder_is_below_runs(name: str) -> None:
    with pytest.raises(RecipeError, match="is neither a name of a recipe nor a recipe file whose run"):
        Workspace(Path("runs")).folder(name)
    with pytest.raises(RecipeError, match=r"^recipe demo/control: start.model: "):
        load_recipe("demo/control", [f"start.model='{name}'"])
    with pytest.raises(RecipeError, match=r"^recipe demo/segaware: start.embedding: "):
        load_recipe("demo/segaware", [f"start.embedding='{name}'"])


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("demo/baseline", ["train=null"], "has no start.model"),
        ("demo/control", ["train=null", "start.model=null"], "has no start.model"),
        ("demo/baseline", ["train=null", "start.vgg=weights.npz"], "has no start.model"),
        ("harley2017/table3/flownets", ["train=null"], "has no start.model"),
        ("harley2017/table2/segaware", ["train=null", "start.model=null"], "has no start.model"),
        ("harley2017/sharpening/embedding_only", ["start.embedding=null"], "its embedding has no start"),
    ],
)
def test_nothing_trained_and_nothing_to_start_from(
    tmp_path: Path, name: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=rf"trains nothing \(train is null\), but {message}"):
        copy_start(torch.nn.Identity(), load_recipe(name, overrides), Workspace(tmp_path), None)
