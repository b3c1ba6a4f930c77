"""Reading recipe files and overrides: what is read, and what is said of a mistake."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from segaware.recipes import files
from segaware.recipes.files import RecipeError, choose_data, load_recipe, load_table

from ..experiments.tiny_recipes import tiny, write_recipe


def _values() -> dict[str, Any]:
    return load_recipe("demo/segaware").model_dump(mode="json")


def _file(folder: Path, values: Any) -> str:
    path = folder / "mine.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return str(path)


def test_path_of_a_file(tmp_path: Path) -> None:
    recipe = tiny("demo/segaware")
    assert load_recipe(write_recipe(tmp_path / "mine.yml", recipe)) == recipe


def test_overrides() -> None:
    recipe = load_recipe(
        "demo/segaware",
        [
            "train.epochs=3",
            "data.crop=[32, 48]",
            "train.gradient_clip=null",
            "title=new title",
            "train.learning_rate=1e-3",
            "model.segaware_layers=all",
            "start.vgg=weights/vgg.npz",
            "train.epochs=4",
        ],
    )
    wanted = _values()
    wanted["train"] |= {"epochs": 4, "gradient_clip": None, "learning_rate": 0.001}
    wanted["data"]["crop"] = [32, 48]
    wanted["model"]["segaware_layers"] = "all"
    wanted["start"]["vgg"] = "weights/vgg.npz"
    assert recipe.model_dump(mode="json") == wanted | {"title": "new title"}


def test_override_of_a_whole_section() -> None:
    section = "{type: vgg, width: 0.25, dim: 3, color: false}"
    overrides = [f"embedding={section}", "embedding.dim=5", "model.segaware_layers=fc6"]
    embedding = load_recipe("demo/baseline", overrides).embedding
    assert embedding is not None
    assert embedding.model_dump() == {"type": "vgg", "width": 0.25, "dim": 5, "color": False}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", "an override must read key=value, got 'train.epochs'"),
        ("train.epoch=3", "unknown key 'train.epoch' in an override: did you mean train.epochs?"),
        ("modle.width=1", "unknown key 'modle.width' in an override: did you mean model"),
        ("xyz=1", "unknown key 'xyz' in an override: there are stage, title, published, seed"),
        ("title.color=1", "unknown key 'title.color' in an override: title is 'segmentation-aware"),
        ("start.vgg.path=1", "unknown key 'start.vgg.path' in an override: start.vgg is None, not a section"),
        ("data.crop=[32,", r"the value of override 'data.crop=\[32,' is not YAML"),
        ("train.epochs=0", "train.epochs: Input should be greater than 0, got 0"),
        ("train.epochs=many", "train.epochs: Input should be a valid integer.*, got 'many'"),
        ("data.crop=[32]", "data.crop.1: Field required"),
        ("data.crop=[32, -1]", "data.crop.1: Input should be greater than 0, got -1"),
        (
            "data.name=cityscapes",
            "data.name: .*unknown data set for segmentation 'cityscapes': there are ade, ade_scored, bsds500",
        ),
        ("data.name=camvit", r"data.name: .*did you mean camvid\? there are .*, got 'camvit'"),
        ("model.segaware_layers=fc7", "model.segaware_layers: Input should be 'none', 'fc6' or 'all', got 'fc7'"),
        ("data.flip=1.5", "data.flip: Input should be less than or equal to 1, got 1.5"),
        ("train.learning_rate=.nan", "train.learning_rate: Input should be greater than 0, got nan"),
        ("evaluation=null", "evaluation: Input should be .*, got None"),
        ("base=demo/baseline", "unknown key 'base' in an override"),
        ("data=voc", "data: Input should be .*, got 'voc'"),
        ("loss={}", "unknown key 'loss' in an override"),
        ("embedding={type: vgg, dim: 3, color: false}", "embedding.width: Field required"),
        ("embedding={kind: learned, width: 1, dim: 3}", "embedding.type: Field required"),
        ("embedding={type: learned, width: 1, dim: 3}", "embedding: Input tag 'learned' .* 'fast', 'vgg', 'color'"),
        ("embedding={type: color, dim: 3}", "unknown key 'embedding.dim': type color has no keys"),
        ("embedding={type: fast, width: 0, dim: 3}", "embedding.width: Input should be greater"),
        ("evaluation.half_widths=[3, 1]", "evaluation.half_widths: .*increasing order, got"),
        ("evaluation.half_widths=[]", "evaluation.half_widths: .*one or more"),
        ("stage=training", "'stage' must be one of embedding, segmentation, multiscale, .*, flow, got 'training'$"),
        ("train.schedule.power=-1", "train.schedule.power: Input should be greater than or equal to 0, got -1"),
        ("train.schedule.type=step", "train.schedule.every: Field required"),
        ("train.schedule={power: 1}", "train.schedule.type: Field required"),
        (
            "train.schedule={type: drop}",
            "train.schedule: .*'drop' .* expected tags: 'polynomial', 'step', 'milestones'",
        ),
        (
            "train.schedule={type: step, every: 2, factor: 0.1, power: 1}",
            "unknown key 'train.schedule.power': type step has train.schedule.every, train.schedule.factor$",
        ),
        (
            "train.optimizer={type: adamw, momentum: 0.9}",
            "unknown key 'train.optimizer.momentum': type adamw has no keys$",
        ),
    ],
)
def test_mistake_in_an_override(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("demo/segaware", [override])


@pytest.mark.parametrize(
    ("section", "key", "near"),
    [
        (None, "sed", "seed"),
        ("train", "learning_rat", "train.learning_rate"),
        ("data", "crops", "data.crop"),
        ("start", "modle", "start.model"),
    ],
)
def test_unknown_key_in_a_file(tmp_path: Path, section: str | None, key: str, near: str) -> None:
    values = _values()
    (values[section] if section else values)[key] = 1
    place = f"{section}.{key}" if section else key
    with pytest.raises(RecipeError, match=re.escape(f"mine.yaml: unknown key {place!r}: did you mean {near}")):
        load_recipe(_file(tmp_path, values))


def test_key_of_the_other_stage(tmp_path: Path) -> None:
    values = load_recipe("demo/embedding").model_dump(mode="json")
    values["start"]["model"] = "demo/baseline"
    with pytest.raises(RecipeError, match=r"unknown key 'start.model': did you mean start.pruned or start.vgg\?$"):
        load_recipe(_file(tmp_path, values))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "mine.yaml is not YAML"),
        ("- 1", "mine.yaml must hold keys and values, got list"),
        ("", "mine.yaml must hold keys and values, got NoneType"),
    ],
)
def test_file_that_is_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(_file(tmp_path, text))


def test_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"title: Gr\xf6\xdfe")  # Latin-1
    with pytest.raises(RecipeError, match=r"mine.yaml is not YAML: .*utf-8"):
        load_recipe(str(path))


@pytest.mark.parametrize("name", ["demo/base", "demo_baseline", "baseline"])
def test_unknown_recipe_names_the_nearest(name: str) -> None:
    with pytest.raises(RecipeError, match=f"unknown recipe '{name}': did you mean .*baseline"):
        load_recipe(name)


@pytest.mark.parametrize("name", ["{}/x/y", "../x/y", "../../x/y", "demo/../../x/y", "demo//y", "./demo/y", "demo/y/"])
def test_a_name_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Files that such names would lead to are neither read as recipes, nor as bases or tables."""
    root = tmp_path / "a/recipes"
    for folder in (root / "demo", tmp_path / "x", tmp_path / "a/x"):
        folder.mkdir(parents=True)
        (folder / "y.yaml").write_text("never read")
        (folder / "table.yaml").write_text("never read")
    monkeypatch.setattr(files, "_root", lambda: root)
    name = name.format(tmp_path)
    with pytest.raises(RecipeError, match=f"^unknown recipe '{name}'"):
        load_recipe(name)
    with pytest.raises(RecipeError, match=f"unknown base '{name}'"):
        load_recipe(_file(tmp_path, f"base: {name}"))
    folder = name.rpartition("/")[0]
    if folder != "demo":  # which is the table there
        with pytest.raises(RecipeError, match=f"^unknown table '{folder}'"):
            load_table(folder)
        assert choose_data(folder, ["data=x"]) == (None, ["data=x"])


@pytest.mark.parametrize("name", ["demo", "demo/table", "", "zzz", "nowhere.yaml"])
def test_what_is_no_recipe(name: str) -> None:
    with pytest.raises(RecipeError, match=f"unknown recipe '{name}': "):
        load_recipe(name)


def test_unknown_table_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"unknown table 'demmo': did you mean demo\?"):
        load_table("demmo")
    with pytest.raises(RecipeError, match=r"unknown table 'zzz': there are .*camvid, .*demo"):
        load_table("zzz")


def _base(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_file_with_a_base_says_what_differs(tmp_path: Path) -> None:
    changed = (
        "title: mine\nembedding: null\nmodel: {segaware_layers: none}\ndata: {crop: [32, 48]}\ntrain: {frozen: [conv1]}"
    )
    recipe = load_recipe(_base(tmp_path, "mine.yaml", f"base: demo/segaware\n{changed}"))
    wanted = _values()
    wanted["model"]["segaware_layers"] = "none"
    wanted["data"]["crop"] = [32, 48]
    wanted["train"]["frozen"] = ["conv1"]
    assert recipe.model_dump(mode="json") == wanted | {"title": "mine", "embedding": None}


def test_section_of_another_type_replaces_that_of_the_base(tmp_path: Path) -> None:
    changed = "train: {schedule: {type: step, every: 9, factor: 0.5}, optimizer: {type: sgd, momentum: 0.5}}"
    below = _base(tmp_path, "below.yaml", f"base: demo/segaware\n{changed}")
    above = _base(tmp_path, "above.yaml", "base: below.yaml\ntrain: {schedule: {every: 7}, optimizer: {type: adamw}}")
    sections = [load_recipe(path).model_dump(mode="json")["train"] for path in (below, above)]
    assert sections[0]["schedule"] == {"type": "step", "every": 9, "factor": 0.5}
    assert sections[1]["schedule"] == {"type": "step", "every": 7, "factor": 0.5}
    assert [section["optimizer"] for section in sections] == [{"type": "sgd", "momentum": 0.5}, {"type": "adamw"}]


def test_bases_have_bases_and_are_found_from_the_file_they_stand_in(tmp_path: Path) -> None:
    _base(tmp_path, "a/first.yaml", "base: demo/baseline\nseed: 1\ntitle: first\nembedding: {type: vgg, width: 1}")
    above = "base: ../a/first.yaml\ntitle: second\nembedding: {dim: 3, color: true}\ntrain: null"
    _base(tmp_path, "b/second.yml", above)
    third = _base(tmp_path, "third.yaml", "base: b/second.yml\nembedding: {dim: 5}")
    values = load_recipe(third).model_dump(mode="json")
    wanted = load_recipe("demo/baseline").model_dump(mode="json")
    embedding = {"type": "vgg", "width": 1.0, "dim": 5, "color": True}
    assert values == wanted | {"seed": 1, "title": "second", "embedding": embedding, "train": None}
    assert load_recipe(third, ["embedding.dim=6"]).embedding.dim == 6  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("demo/base", "mine.yaml: unknown base 'demo/base': did you mean demo/baseline"),
        ("demo/table", "mine.yaml: unknown base 'demo/table'"),
        ("other.yaml", "mine.yaml: unknown base 'other.yaml'"),
        ("[demo/baseline]", r"mine.yaml: unknown base \['demo/baseline'\]"),
        ("mine.yaml", "mine.yaml: base: the files .*mine.yaml build on one another"),
        ("sub/../round.yaml", "base: the files .*mine.yaml, .*round.yaml build on one another"),
        ("empty.yaml", "empty.yaml must hold keys and values, got NoneType"),
    ],
)
def test_mistake_in_a_base(tmp_path: Path, base: str, message: str) -> None:
    (tmp_path / "sub").mkdir()
    _base(tmp_path, "empty.yaml", "")
    _base(tmp_path, "round.yaml", "base: mine.yaml")
    path = _base(tmp_path, "mine.yaml", f"base: {base}\ntitle: mine")
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_unknown_key_above_a_base(tmp_path: Path) -> None:
    path = _base(tmp_path, "mine.yaml", "base: demo/segaware\ntrain: {epoch: 3}")
    with pytest.raises(RecipeError, match=r"mine.yaml: unknown key 'train.epoch': did you mean train.epochs"):
        load_recipe(path)
