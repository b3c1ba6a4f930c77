"""The recipes and tables that come with segaware."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from segaware.data import dataset_info
from segaware.recipes import files
from segaware.recipes.build import build_network, build_stage
from segaware.recipes.files import RecipeError, load_recipe, load_table, recipe_names, table_names
from segaware.recipes.schema import EmbeddingRecipe, Recipe

FOLDER = Path(files.__file__).parent


def test_every_file_is_listed() -> None:
    listed = {FOLDER / f"{name}.yaml" for name in recipe_names()} | {FOLDER / n / "table.yaml" for n in table_names()}
    assert listed == set(FOLDER.rglob("*.yaml"))
    assert {"demo", "camvid"} <= set(table_names())


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_builds_a_network_that_runs(name: str) -> None:
    recipe = load_recipe(name)
    network = build_network(recipe).eval()
    build_stage(recipe, network)
    with torch.inference_mode():
        output = network(torch.rand(1, 3, 33, 47))
    if isinstance(recipe, EmbeddingRecipe):
        channels: int | None = recipe.embedding.dim
    else:
        channels = dataset_info(recipe.data.name).num_classes
    assert output.shape == (1, channels, 33, 47)


def _keys(values: dict[str, Any]) -> Iterator[list[str]]:
    for key, value in values.items():
        yield [key]
        if isinstance(value, dict):
            yield from ([key, *rest] for rest in _keys(value))


@pytest.mark.parametrize("name", recipe_names())
def test_every_value_is_in_the_file(name: str, tmp_path: Path) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    path = tmp_path / "mine.yaml"
    keys = list(_keys(yaml.safe_load(text)))
    assert len(keys) > 30
    for *sections, key in keys:
        values = inner = yaml.safe_load(text)
        for section in sections:
            inner = inner[section]
        del inner[key]
        path.write_text(yaml.safe_dump(values))
        place = ".".join([*sections, key])
        with pytest.raises(RecipeError) as error:
            load_recipe(str(path))
        if place == "stage":
            assert "'stage'" in str(error.value)
        else:
            assert f"{path}: {place}: Field required" in str(error.value)


@pytest.mark.parametrize("name", recipe_names())
def test_starts_are_recipes_that_fit(name: str) -> None:
    start = load_recipe(name).start
    for kind, stage in (("model", "segmentation"), ("embedding", "embedding")):
        source = getattr(start, kind, None)
        if source is not None:
            assert load_recipe(source).stage == stage
    recipe = load_recipe(name)
    if getattr(start, "embedding", None):
        assert recipe.embedding == load_recipe(start.embedding).embedding  # type: ignore[union-attr]


def _budget(recipe: Recipe) -> dict[str, Any]:
    """All that a row must share with its control for the comparison to be of what the title says."""
    values = recipe.model_dump(mode="json")
    return {
        "seed": values["seed"],
        "data": values["data"],
        "train": values["train"],
        "evaluation": values["evaluation"],
        "start.model": values["start"]["model"],
        "start.vgg": values["start"]["vgg"],
        "backbone": {key: values["model"][key] for key in ("width", "batch_norm", "dropout", "fc6_dilation")},
    }


@pytest.mark.parametrize("name", table_names())
def test_rows_have_the_control_s_budget(name: str) -> None:
    table = load_table(name)
    control = load_recipe(table.control)
    baseline = control.start.model  # type: ignore[union-attr]
    assert table.control in table.rows and baseline in table.rows
    assert len(set(table.rows)) == len(table.rows)
    assert control.embedding is None
    for row in set(table.rows) - {baseline}:
        assert _budget(load_recipe(row)) == _budget(control), row
    titles = [load_recipe(row).title for row in table.rows]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", table_names())
def test_control_goes_on_with_the_baseline_unchanged(name: str) -> None:
    control = load_recipe(load_table(name).control).model_dump(mode="json")
    baseline = load_recipe(control["start"]["model"]).model_dump(mode="json")
    for key in ("stage", "seed", "data", "embedding", "model", "evaluation"):
        assert control[key] == baseline[key], key
