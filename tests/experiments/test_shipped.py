"""The recipes and tables that come with segaware."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from segaware.data import dataset
from segaware.experiments.build import build_network, build_stage
from segaware.experiments.start import SHIPPED
from segaware.experiments.tasks.networks import build_embedding
from segaware.nn import Embedding
from segaware.nn.bundled import BundledEmbedding
from segaware.recipes import files
from segaware.recipes.files import RecipeError, load_recipe, load_table, recipe_folder, recipe_names, table_names
from segaware.recipes.flow import FlowRecipe
from segaware.recipes.schema import Recipe

FOLDER = Path(files.__file__).parent
TABLE_DATA = [(name, data) for name in table_names() for data in load_table(name).data or [None]]


def _read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return values


def test_every_file_is_listed() -> None:
    listed = {FOLDER / f"{name}.yaml" for name in recipe_names()} | {FOLDER / n / "table.yaml" for n in table_names()}
    assert listed == set(FOLDER.rglob("*.yaml"))
    assert {"demo", "camvid"} <= set(table_names())


def test_files_begin_with_their_command() -> None:
    for name in recipe_names():
        first = (FOLDER / f"{name}.yaml").read_text().splitlines()[0]
        assert first.split(" ")[:4] == ["#", "segaware", "train", name]
    for name in table_names():
        first = (FOLDER / name / "table.yaml").read_text().splitlines()[0]
        assert first.split(" ")[:4] == ["#", "segaware", "table", name]


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_builds_a_network_that_runs(name: str) -> None:
    recipe = load_recipe(name)
    network = build_network(recipe).eval()
    if recipe.train is not None:
        build_stage(recipe, network)
    with torch.inference_mode():
        image = torch.rand(1, 3, 33, 47)
        if recipe.embedding is not None and recipe.embedding.type == "labels":
            image = torch.cat([image, torch.zeros(1, 1, 33, 47)], dim=1)
        scores = torch.randn(1, dataset(recipe.data.name).num_classes or 1, 5, 6)
        others = {"sharpening": (scores, 8), "flow": (torch.rand(1, 3, 33, 47),)}
        output = network(image, *others.get(recipe.stage, ()))
    if isinstance(network, Embedding):
        channels: int | None = network.dim
    elif isinstance(recipe, FlowRecipe):
        channels = 2
    else:
        channels = dataset(recipe.data.name).num_classes
    assert output.shape == (1, channels, 33, 47)


def _keys(values: dict[str, Any]) -> Iterator[list[str]]:
    for key, value in values.items():
        yield [key]
        if isinstance(value, dict) and key != "mixture":  # which names the data sets that it likes
            yield from ([key, *rest] for rest in _keys(value))


@pytest.mark.parametrize("name", [name for name in recipe_names() if "base" in _read(name)])
def test_file_with_a_base_says_only_what_differs(name: str) -> None:
    values = _read(name)
    base = values.pop("base")
    folder = recipe_folder(base)
    known = load_table(folder).data if folder in table_names() else {}
    unchanged = next((key for key, data in known.items() if not data.changes), None)
    below = load_recipe(base, data=unchanged).model_dump(mode="json")
    for *sections, key in _keys(values):
        theirs, ours = below, values
        for section in sections:
            theirs, ours = (theirs or {}).get(section), ours[section]
        assert isinstance(ours[key], dict) or theirs is None or theirs.get(key) != ours[key], (*sections, key)


@pytest.mark.parametrize("name", [name for name in recipe_names() if "base" not in _read(name)])
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
    recipe = load_recipe(name)
    start = recipe.start
    network = recipe.stage if recipe.stage in ("flow", "multiscale") else "segmentation"
    for kind, stage in (("model", network), ("embedding", "embedding")):
        source = getattr(start, kind, None)
        if source not in (None, SHIPPED):
            assert load_recipe(source).stage == stage
    if getattr(start, "embedding", None) == SHIPPED:
        network = build_embedding(recipe.embedding)
        assert isinstance(network, BundledEmbedding)
        assert network.state_dict().keys() == type(network).from_pretrained().state_dict().keys()
    elif getattr(start, "embedding", None):
        assert recipe.embedding == load_recipe(start.embedding).embedding  # type: ignore[union-attr]


def _ground(recipe: Recipe) -> dict[str, Any]:
    """All that any two rows of a table must share."""
    values = recipe.model_dump(mode="json")
    return {
        "seed": values["seed"],
        "data": values["data"],
        "evaluation": values["evaluation"],
        "backbone": {key: values["model"].get(key) for key in ("trunk", "width", "batch_norm", "fc6_dilation")},
    }


@pytest.mark.parametrize(("name", "data"), TABLE_DATA)
def test_rows_have_the_control_s_budget(name: str, data: str | None) -> None:
    """Each starts where the control starts and trains as long, or sharpens another row's scores or given ones."""
    table = load_table(name)
    assert table.control in table.rows and len(set(table.rows)) == len(table.rows)
    assert set(table.figure or ()) <= set(table.rows)
    control = load_recipe(table.control, data=data)
    assert control.embedding is None
    rows = {row: load_recipe(row, data=data) for row in table.rows}
    titles = [recipe.title for recipe in rows.values() if not recipe.title.startswith("... + variational")]
    assert len(set(titles)) == len(titles)
    if isinstance(control, FlowRecipe):
        return
    for row, recipe in rows.items():
        if row == control.start.model:  # type: ignore[union-attr]
            continue
        ground, wanted = _ground(recipe), _ground(control)
        if recipe.train_on == "cached_scores":  # type: ignore[union-attr]
            ground["data"]["scale"] = wanted["data"]["scale"]  # scores are computed once, at one scale
        assert ground == wanted, row
        if recipe.stage == "sharpening" or recipe.train is None:
            continue
        start = recipe.start.model  # type: ignore[union-attr]
        if start in table.rows and start != control.start.model:  # type: ignore[union-attr]
            assert recipe.train_on == "cached_scores" or {"conv", "trunk"} & set(recipe.train.frozen), row  # type: ignore[union-attr]
            assert (recipe.train.epochs, recipe.train.steps) == (control.train.epochs, control.train.steps), row  # type: ignore[union-attr]
        else:
            assert recipe.start.model_copy(update={"embedding": None}) == control.start, row
            frozen = {name for name in recipe.train.frozen if not name.endswith("hardness")}  # it has none
            assert frozen <= {"embedding", *control.train.frozen}, row  # type: ignore[union-attr]
            assert recipe.train.model_copy(update={"frozen": control.train.frozen}) == control.train, row  # type: ignore[union-attr]


@pytest.mark.parametrize("data", load_table("harley2017/table3").data)
def test_rows_of_flow_have_the_control_s_budget(data: str) -> None:
    """Each starts from its own network, trained like the control's, and trains as long; or refines another row's."""
    table = load_table("harley2017/table3")
    control, first = (load_recipe(f"harley2017/table3/{name}", data=data) for name in ("control", "flownets"))
    assert isinstance(control, FlowRecipe) and isinstance(first, FlowRecipe) and control.train
    for row in table.rows:
        recipe = load_recipe(row, data=data)
        assert isinstance(recipe, FlowRecipe)
        assert (recipe.seed, recipe.data, recipe.evaluation) == (control.seed, control.data, control.evaluation)
        assert (recipe.model.width, recipe.model.batch_norm) == (control.model.width, control.model.batch_norm)
        if recipe.train is None:
            assert recipe.start.model in table.rows
            continue
        assert set(recipe.train.frozen) <= {"embedding"}
        assert recipe.train.model_copy(update={"frozen": ()}) == control.train
        start = load_recipe(recipe.start.model or "", data=data)
        assert isinstance(start, FlowRecipe)
        assert (start.data, start.train, start.model.network) == (first.data, first.train, recipe.model.network)


@pytest.mark.parametrize(("name", "data"), TABLE_DATA)
def test_control_goes_on_with_the_baseline_unchanged(name: str, data: str | None) -> None:
    control = load_recipe(load_table(name).control, data=data).model_dump(mode="json")
    if control["train"] is None or control["start"]["model"] is None:  # it trains nothing, or all from the start
        return
    baseline = load_recipe(control["start"]["model"], data=data).model_dump(mode="json")
    for key in ("stage", "seed", "embedding", "model", "evaluation"):
        assert control[key] == baseline[key], key
    may_differ = dict.fromkeys(("batch_size", "affine") if control["stage"] == "flow" else ("batch_size",))
    assert control["data"] | may_differ == baseline["data"] | may_differ


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, data in TABLE_DATA if data])
def test_every_change_changes_a_recipe(name: str, data: str) -> None:
    recipes = [recipe for recipe in recipe_names() if recipe.startswith(f"{name}/")]
    for pattern, changes in load_table(name).data[data].changes.items():
        matched = [load_recipe(r, data=data).model_dump(mode="json") for r in recipes if fnmatchcase(r, pattern)]
        assert matched, pattern
        for *sections, key in _keys(changes):
            inner = matched
            for section in sections:
                inner = [values[section] for values in inner if values.get(section)]
            assert any(key in values for values in inner), (pattern, *sections, key)
