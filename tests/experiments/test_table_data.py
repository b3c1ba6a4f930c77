"""One table for several data sets: what `data=` and other overrides change, and where it is kept."""

from pathlib import Path
from typing import Any

import pytest

from segaware.experiments import run, table
from segaware.experiments.run import train
from segaware.experiments.table import run_table
from segaware.experiments.workspace import Workspace
from segaware.recipes import files
from segaware.recipes.files import RecipeError, choose_data, load_recipe
from segaware.recipes.schema import Recipe
from segaware.training import Devices, load_weights

from .tiny_recipes import write_table

ROWS = ("many/baseline", "many/control")
DATA: dict[str, Any] = {
    "whole": {"about": "As it is.", "changes": {}},
    "half": {
        "about": "Less of it.",
        "changes": {
            "*": {"data": {"length": 8}, "seed": 5, "model": {"dropout": 0.5}, "loss": {"alpha": 0.25}},
            "*/control": {"train": {"epochs": 3, "frozen": ["conv1_1"]}, "seed": 6},
            "many/segaware": {"embedding": {"dim": 5}},
        },
    },
}


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables with data sets. One row of "many" is the network it starts from; "more" compares it with its own."""
    root = tmp_path_factory.mktemp("recipes")
    write_table(root / "many", ("many/baseline", "many/control", "many/as_is"), control="many/control", data=DATA)
    as_is = "base: many/control\ntitle: as it is\nstart: {model: many/baseline}\ntrain: null\n"
    (root / "many/as_is.yaml").write_text(as_is)
    write_table(
        root / "more", ("many/baseline", "more/new"), control="many/baseline", data=DATA | {"half": DATA["half"]}
    )
    (root / "more/new.yaml").write_text("base: many/control\ntitle: new\n")
    return root


@pytest.fixture(autouse=True)
def _tiny_root(recipes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_root", lambda: recipes)
    monkeypatch.setattr(table, "measure_cost", lambda *_: {"milliseconds": 1.5, "peak_mb": 7.5})


def _values(name: str, **arguments: Any) -> dict[str, Any]:
    return load_recipe(name, **arguments).model_dump(mode="json")


def test_first_data_set_is_the_default() -> None:
    assert _values("many/control") == _values("many/control", data="whole")
    assert _values("many/control")["seed"] == 0


def test_changes_are_laid_over_what_a_recipe_has() -> None:
    wanted = _values("many/control")
    wanted["data"]["length"] = 8
    wanted["model"]["dropout"] = 0.5
    wanted["train"] |= {"epochs": 3, "frozen": ["conv1_1"]}
    assert wanted["embedding"] is None
    assert _values("many/control", data="half") == wanted | {"seed": 6}  # the last pattern that fits
    embedding = _values("many/embedding", data="half")  # without a section "model"
    assert (embedding["seed"], embedding["loss"]["alpha"], embedding["train"]["epochs"]) == (5, 0.25, 1)
    assert _values("many/segaware", data="half")["embedding"]["dim"] == 5


def test_null_stays_null() -> None:
    assert _values("many/as_is", data="half")["train"] is None
    (Path(files._root()) / "many/control2.yaml").write_text("base: many/as_is\n")
    with pytest.MonkeyPatch.context() as patch:
        changed = DATA | {"half": {"about": "", "changes": {"*": {"train": {"epochs": 9}, "embedding": {"dim": 9}}}}}
        patch.setattr(files, "load_table", lambda name: files.Table(
            title="", about="", control="", rows=(), figure=None, published=(), data=changed
        ))  # fmt: skip
        values = _values("many/control2", data="half")
    assert (values["train"], values["embedding"]) == (None, None)


def test_overrides_come_after_changes() -> None:
    assert _values("many/control", data="half", overrides=["seed=7"])["seed"] == 7


@pytest.mark.parametrize(
    ("folder", "overrides", "chosen"),
    [
        ("many", [], ("whole", [])),
        ("many", ["data=half", "seed=1"], ("half", ["seed=1"])),
        ("many", ["data=half", " data = whole "], ("whole", [])),
        ("many", ["data={name: scenes}"], ("whole", ["data={name: scenes}"])),
        ("many", ["data.length=4"], ("whole", ["data.length=4"])),
        ("nowhere", ["data=half"], (None, ["data=half"])),
        ("", ["seed=1"], (None, ["seed=1"])),
    ],
)
def test_choice(folder: str, overrides: list[str], chosen: tuple[str | None, list[str]]) -> None:
    assert choose_data(folder, overrides) == chosen


def test_unknown_data_set_names_the_known_ones() -> None:
    message = "unknown data=haf for the table many: there are whole, half"
    with pytest.raises(RecipeError, match=message):
        choose_data("many", ["data=haf"])
    with pytest.raises(RecipeError, match=message):
        load_recipe("many/control", data="haf")
    with pytest.raises(RecipeError, match=message):
        run_table("many", Workspace(Path("nowhere")), ["data=haf"])


def test_runs_and_values_of_a_data_set(tmp_path: Path) -> None:
    values = run_table("many", Workspace(tmp_path), ["data=half", "train.epochs=1", "seed=4"])
    assert (values["table"], values["data"], values["about"]) == ("many", "half", "Tiny networks. Less of it.")
    assert [row["recipe"] for row in values["rows"]] == ["many/baseline", "many/control", "many/as_is"]
    assert [row["seed"] for row in values["rows"]] == [4, 4, 4]
    assert [row["steps"] for row in values["rows"]] == [2, 2, 0]
    weights = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("model.safetensors"))
    assert weights == [f"half/many/{name}/model.safetensors" for name in ("as_is", "baseline", "control")]
    baseline, _ = load_weights(tmp_path / "half/many/baseline/model.safetensors")
    as_is, description = load_weights(tmp_path / "half/many/as_is/model.safetensors")
    assert all((as_is[key] == baseline[key]).all() for key in baseline) and as_is.keys() == baseline.keys()
    assert description["seconds"] is None
    row = values["rows"][2]
    assert row["miou"] == values["rows"][0]["miou"]

    # A row of another table that was trained before is the same row.
    trained: list[str] = []

    def note(name: str, recipe: Recipe, workspace: Workspace, devices: Devices) -> Path:
        if not workspace.weights(name).exists():
            trained.append(name)
        return train(name, recipe, workspace, devices=devices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "train", note)
        run_table("more", Workspace(tmp_path), ["data=half", "train.epochs=1", "seed=4"])
    assert trained == ["more/new"]


def test_finished_rows_of_a_data_set_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[str] = []
    original = run.fit

    def fit(*arguments: Any) -> None:
        name = arguments[3].name
        if fitted == ["baseline"]:
            fitted.append(f"interrupted in {name}")
            raise KeyboardInterrupt
        fitted.append(name)
        original(*arguments)

    monkeypatch.setattr(run, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        run_table("many", Workspace(tmp_path))
    run_table("many", Workspace(tmp_path))
    run_table("many", Workspace(tmp_path), ["data=whole"])
    assert fitted == ["baseline", "interrupted in control", "control"]
    run_table("many", Workspace(tmp_path), ["data=half", "train.epochs=1"])  # another data set, another folder
    assert fitted[3:] == ["baseline", "control"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=3", "unknown key 'train.epoch' in an override: did you mean train.epochs"),
        ("fast", "an override must read key=value, got 'fast'"),
        ("train.epochs=0", "train.epochs: Input should be greater than 0, got 0"),
        ("loss.alpha=1", "unknown key 'loss.alpha'"),  # no row of this table starts from an embedding
    ],
)
def test_mistake_in_an_override_of_a_table(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        run_table("many", Workspace(tmp_path), [override])
    assert not list(tmp_path.iterdir())


def test_missing_file_is_found_before_the_first_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    monkeypatch.setattr(table, "train", lambda name, *_: trained.append(name))
    with pytest.raises(RecipeError, match=r"start\.vgg: there is no file"):
        run_table("many", Workspace(tmp_path, tmp_path), ["start.vgg=weights/none.npz"])
    assert trained == []
