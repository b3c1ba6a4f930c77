"""Every recipe that comes with segaware is trained for two steps, as part of its table or alone."""

from pathlib import Path
from typing import Any

import pytest

from segaware.experiments import table
from segaware.experiments.run import train
from segaware.experiments.start import SHIPPED
from segaware.experiments.table import run_table
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import has_key, load_recipe, load_table, recipe_names, table_names
from segaware.training import load_weights

from .tiny_data import write_data

SMALL = (
    *("data.crop=[33, 33]", "data.batch_size=2", "data.workers=0", "train.epochs=1", "start.vgg=null"),
    "start.resnet=null",
    *("model.width=0.0625", "embedding.width=0.125", "embedding.dim=4", "teacher.images=1", "masks.crop=33"),
    *("evaluation.images=2", "evaluation.validation_images=1", "evaluation.half_widths=[1, 3]"),
)


def _length(name: str, data: str | None = None) -> list[str]:
    """Data sets on disk have four images; others are to give as many."""
    of_data = load_recipe(name, data=data).data
    if getattr(of_data, "mixture", None):
        return ["data.length=4"]
    return {
        "scenes": ["data.length=4"],
        "flying_voc": ["data.length=4", "data.size=[33, 33]"],
    }.get(of_data.name, [])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained() -> set[str]:
    """Names of what was trained, to be filled."""
    return set()


def _check(runs: Path, trained: set[str]) -> None:
    for weights in runs.rglob("model.safetensors"):
        _, description = load_weights(weights)
        epochs = 1 if description["values"]["train"] else 0
        batches = {"voc_bsds500": 4}.get(description["values"]["data"]["name"], 2)
        assert description["steps"] == epochs * batches
        trained.add(description["recipe"])


@pytest.mark.parametrize(
    ("name", "data"), [(name, key) for name in table_names() for key in load_table(name).data or [None]]
)
def test_table(
    name: str, data: str | None, root: Path, tmp_path: Path, trained: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "measure_cost", lambda *_: {"milliseconds": 1.5, "peak_mb": 2.5})
    rows = load_table(name).rows
    recipes = table._recipes(load_table(name), data, ()).values()  # with what the rows start from
    small = [override for override in SMALL if any(has_key(recipe, override) for recipe in recipes)]
    small += _length(rows[0], data)
    if data is not None:
        small.append(f"data={data}")
    shipped = [r for r in recipes if getattr(r.start, "embedding", None) == SHIPPED]  # which is of full width
    if any(recipe.train is None and recipe.start.model is None for recipe in shipped):
        small = [override for override in small if not override.startswith("embedding.")]
    elif shipped:
        small.append("start.embedding=null")
    values: dict[str, Any] = run_table(name, Workspace(tmp_path, root), small)
    assert values["images"] == 2
    assert [(row["milliseconds"], row["peak_mb"]) for row in values["rows"]] == [(1.5, 2.5)] * len(values["rows"])
    assert all(0 <= row["miou"] <= 1 if "miou" in row else row["errors"][0] > 0 for row in values["rows"])
    _check(tmp_path, trained)


def test_recipes_of_no_table(root: Path, tmp_path: Path, trained: set[str]) -> None:
    for name in set(recipe_names()) - trained:
        recipe = load_recipe(name)
        small = [override for override in [*SMALL, *_length(name)] if has_key(recipe, override)]
        if name == "everyday/embedding_vgg":  # the weights that it starts from are of the full size
            small.append("start.pruned=null")
        train(name, load_recipe(name, small), Workspace(tmp_path, root))
    _check(tmp_path, trained)
    assert trained == set(recipe_names())
