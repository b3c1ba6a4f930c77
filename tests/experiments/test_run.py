"""Training a recipe into its folder: what is written, what is left alone, and that the seed fixes it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segaware.data import DataError, Sample, Scenes
from segaware.experiments import run
from segaware.experiments.run import load_network, train
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import RecipeError, load_recipe
from segaware.training import load_weights

from .tiny_recipes import STEPS, tiny, write_recipe


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    """A copy of the trained recipes, to write to."""
    return shutil.copytree(runs, tmp_path / "runs")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(run, "fit", fail)


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_a_training_writes(runs: Path) -> None:
    folder = Workspace(runs).folder("demo/baseline")
    assert folder == runs / "demo/baseline"
    assert yaml.safe_load((folder / "recipe.yaml").read_text()) == tiny("demo/baseline").model_dump(mode="json")
    _, description = load_weights(Workspace(runs).weights("demo/baseline"))
    assert description["recipe"] == "demo/baseline"
    assert description["values"] == tiny("demo/baseline").model_dump(mode="json")
    assert description["values"]["seed"] == 0
    assert description["steps"] == STEPS
    assert description["seconds"] >= 0
    assert description["command"].startswith("segaware")
    assert {"commit", "torch", "python", "machine", "segaware"} <= description.keys()
    header, *rows = (folder / "logs" / "metrics.csv").read_text().splitlines()
    assert "val/miou" in header and len(rows) == 1
    events = EventAccumulator(str(folder / "logs"))
    events.Reload()
    (validation,) = events.Scalars("val/miou")
    assert validation.step == STEPS - 1
    assert validation.value == pytest.approx(float(rows[0].split(",")[header.split(",").index("val/miou")]))


def test_loaded_network_predicts(runs: Path) -> None:
    network, description = load_network(
        "demo/segaware", tiny("demo/segaware"), Workspace(runs).weights("demo/segaware")
    )
    assert not network.training and description["recipe"] == "demo/segaware"
    tensors, _ = load_weights(Workspace(runs).weights("demo/segaware"))
    assert network.state_dict().keys() == tensors.keys()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network.state_dict().items())


@pytest.mark.usefixtures("no_training")
def test_finished_training_is_not_run_again(copied: Path) -> None:
    before = _contents(copied)
    assert train("demo/baseline", tiny("demo/baseline"), Workspace(copied)) == Workspace(copied).weights(
        "demo/baseline"
    )
    assert _contents(copied) == before


@pytest.mark.usefixtures("no_training")
def test_folder_of_another_recipe_is_left_alone(copied: Path) -> None:
    before = _contents(copied)
    other = tiny("demo/baseline", "train.learning_rate=0.01")
    with pytest.raises(RecipeError, match=r"demo/baseline holds a training with other values .* --overwrite"):
        train("demo/baseline", other, Workspace(copied))
    assert _contents(copied) == before


@pytest.mark.usefixtures("no_training")
def test_weights_of_unknown_origin_are_left_alone(copied: Path) -> None:
    (copied / "demo/baseline/recipe.yaml").unlink()
    before = _contents(copied)
    with pytest.raises(RecipeError, match=r"demo/baseline holds weights but no recipe.yaml; pass --overwrite"):
        train("demo/baseline", tiny("demo/baseline"), Workspace(copied))
    assert _contents(copied) == before


def test_overwrite_replaces_a_training_and_nothing_else(copied: Path) -> None:
    folder = copied / "demo/baseline"
    old, _ = load_weights(folder / "model.safetensors")
    for name in ("scores.npz", "scores.json", "cost.json", "notes.txt", "photo.jpg"):
        (folder / name).touch()
    other = tiny("demo/baseline", "seed=7")
    train("demo/baseline", other, Workspace(copied), overwrite=True)
    new, description = load_weights(folder / "model.safetensors")
    assert description["values"]["seed"] == 7 and description["seconds"] is not None
    assert not torch.equal(new["fc8.weight"], old["fc8.weight"])
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["seed"] == 7
    assert len(list(folder.glob("logs/events*"))) == 1
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files == {"recipe.yaml", "model.safetensors", "notes.txt", "photo.jpg"}


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "overrides", "error", "message"),
    [
        ("demo/baseline", ["data.batch_size=17"], RecipeError, "data.batch_size=17 is more than there are training"),
        ("demo/baseline", ["data.name=camvid", "data.length=null"], DataError, "--data-root"),
        ("demo/baseline", ["data.length=null"], RecipeError, "data.length: scenes need a number"),
        ("demo/baseline", ["data.name=camvid"], RecipeError, "data.length: .* got 16 for camvid"),
        ("demo/baseline", ["data.scale=[2, 1]"], ValueError, "low <= high"),
        ("demo/baseline", ["model.filter_stride=3"], RecipeError, "filter_stride must divide 8, got 3"),
        ("demo/baseline", ["model.segaware_layers=fc6"], RecipeError, "embedding is needed"),
        ("demo/baseline", ["start.vgg=missing.npz"], RecipeError, r"start\.vgg: there is no file .*missing.npz"),
        (
            "demo/control",
            ["train=null", "start.model=demo/filter"],
            RecipeError,
            "run `segaware train demo/filter` first",
        ),
        ("demo/baseline", ["start.model=demo/control"], RecipeError, "run `segaware train demo/control` first"),
        ("demo/baseline", ["seed=-1"], ValueError, "-1 is not in bounds"),
        ("demo/baseline", ["train.frozen=[conv9]"], ValueError, "frozen: the network has no parameters at 'conv9'"),
        ("demo/embedding", ["loss.alpha=3"], ValueError, "alpha <= beta"),
        ("demo/embedding", ["loss.dilations=[]"], ValueError, "dilations"),
        ("demo/embedding", ["embedding={type: color}"], RecipeError, "embedding: Input tag 'color'"),
    ],
)
def test_mistake_is_found_before_anything_is_touched(
    copied: Path, name: str, overrides: list[str], error: type[Exception], message: str, overwrite: bool
) -> None:
    runs = copied if overwrite else copied.parent / "empty"
    before = _contents(copied.parent)
    with pytest.raises(error, match=message):
        train(name, tiny(name, *overrides), Workspace(runs), overwrite)
    assert _contents(copied.parent) == before
    assert not (copied.parent / "empty").exists()


def test_recipe_files_can_build_on_one_another(tmp_path: Path) -> None:
    baseline = write_recipe(tmp_path / "recipes" / "first.yaml", tiny("demo/baseline"))
    second = write_recipe(tmp_path / "recipes" / "second.yml", tiny("demo/control", f"start.model={baseline}"))
    runs = tmp_path / "runs"
    with pytest.raises(
        RecipeError, match=r"no weights at .*runs/first/model.safetensors; run `segaware train .*first.yaml"
    ):
        train(second, load_recipe(second), Workspace(runs))
    assert train(baseline, load_recipe(baseline), Workspace(runs)) == runs / "first" / "model.safetensors"
    assert train(second, load_recipe(second), Workspace(runs)) == runs / "second" / "model.safetensors"


def test_seed_fixes_the_weights(runs: Path, tmp_path: Path) -> None:
    for name in ("demo/baseline", "demo/embedding"):
        first, _ = load_weights(Workspace(runs).weights(name))
        second, _ = load_weights(train(name, tiny(name), Workspace(tmp_path / "again")))
        other, _ = load_weights(train(name, tiny(name, "seed=1"), Workspace(tmp_path / "other")))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert all(not torch.equal(first[key], other[key]) for key in first if key.endswith("weight"))


def test_recipes_with_different_networks_see_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(stage: Any, batches: Any, *others: Any) -> None:
        seen.append([(batch.name, batch.image.sum().item()) for batch in batches])

    monkeypatch.setattr("segaware.experiments.run.fit", look)
    for name in ("demo/baseline", "demo/segaware"):
        train(name, tiny(name, "start.model=null", "start.embedding=null"), Workspace(tmp_path))
    assert len(seen[0]) > 1 and seen[0] == seen[1]


def test_broken_image_stops_the_training_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Scenes.__getitem__

    def broken(self: Scenes, index: int) -> Sample:
        sample = original(self, index)
        return sample._replace(image=sample.image * float("nan")) if sample.name == "000003" else sample

    monkeypatch.setattr(Scenes, "__getitem__", broken)
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step \d, in the batch of [\d, ]*000003"):
        train("demo/baseline", tiny("demo/baseline"), Workspace(tmp_path))
    assert not Workspace(tmp_path).weights("demo/baseline").exists()
    assert not list(tmp_path.rglob("*.ckpt"))  # the same call starts afresh, it does not go on from broken weights


@pytest.mark.parametrize(
    ("name", "overrides", "differences"),
    [
        ("demo/baseline", ["model.width=0.125"], r"model.width \(0.0625 there, 0.125 here\)"),
        ("demo/embedding", ["data.name=bsds500", "data.length=null"], r"data.name \(scenes there, bsds500 here\)"),
        (
            "demo/segaware",
            ["embedding.dim=5", "model.segaware_layers=all"],
            r"embedding.dim .4 .*, model.segaware_layers .fc6 ",
        ),
    ],
)
def test_weights_of_another_network(runs: Path, name: str, overrides: list[str], differences: str) -> None:
    with pytest.raises(RecipeError, match=f"was trained by recipe {name}, not mine: they differ in {differences}"):
        load_network("mine", tiny(name, *overrides), Workspace(runs).weights(name))


def test_weights_of_another_stage(runs: Path) -> None:
    with pytest.raises(RecipeError, match=r"stage \(embedding there, segmentation here\)"):
        load_network("demo/segaware", tiny("demo/segaware"), Workspace(runs).weights("demo/embedding"))


def test_training_values_do_not_tie_weights_to_a_recipe(runs: Path) -> None:
    recipe = tiny("demo/baseline", "train.learning_rate=0.5", "evaluation.images=1", "title=other")
    load_network("demo/baseline", recipe, Workspace(runs).weights("demo/baseline"))


def test_missing_and_broken_weights(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(RecipeError, match=r"no weights at .*; run `segaware train demo/baseline` first"):
        load_network("demo/baseline", tiny("demo/baseline"), path)
    path.write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match=r"model.safetensors is not a weights file of segaware"):
        load_network("demo/baseline", tiny("demo/baseline"), path)


def test_weights_that_do_not_fit_in_spite_of_their_description(runs: Path, tmp_path: Path) -> None:
    network, description = load_network(
        "demo/baseline", tiny("demo/baseline"), Workspace(runs).weights("demo/baseline")
    )
    network.fc8 = torch.nn.Conv2d(64, 7, 1)
    path = tmp_path / "model.safetensors"
    run.save_weights(path, network, description)
    with pytest.raises(RecipeError, match=r"model.safetensors do not fit this recipe's network: .*fc8.weight"):
        load_network("demo/baseline", tiny("demo/baseline"), path)


@pytest.mark.usefixtures("no_training")
def test_network_that_is_not_trained(copied: Path) -> None:
    """It is what it starts from, and its new parts are what the recipe says; it needs no training images."""
    recipe = tiny("demo/segaware", "train=null", "model.filter_hardness=1.75", "data.batch_size=99")
    weights = train("demo/put_together", recipe, Workspace(copied))
    assert weights == copied / "demo/put_together/model.safetensors"
    tensors, description = load_weights(weights)
    assert (description["steps"], description["seconds"], description["values"]["train"]) == (0, None, None)
    baseline, _ = load_weights(Workspace(copied).weights("demo/baseline"))
    embedding, _ = load_weights(Workspace(copied).weights("demo/embedding"))
    wanted = baseline | {f"embedding.{key}": tensor for key, tensor in embedding.items()}
    assert all(torch.equal(tensors[key], tensor) for key, tensor in wanted.items())
    new = {key: tensor.item() for key, tensor in tensors.items() if key not in wanted}
    assert new == pytest.approx({"fc6.hardness": 0.1, "refinement.filter.hardness": 1.75})

    before = _contents(copied)
    assert train("demo/put_together", recipe, Workspace(copied)) == weights
    assert _contents(copied) == before
    with pytest.raises(RecipeError, match="trains nothing: its train is null"):
        run.build_stage(recipe, run.build_network(recipe))


@pytest.mark.usefixtures("no_training")
def test_words_do_not_tie_a_training_to_a_recipe(copied: Path) -> None:
    train("demo/baseline", tiny("demo/baseline", "title=other", "published=66.3"), Workspace(copied))


@pytest.mark.usefixtures("no_training")
def test_what_is_scored_does_not_tie_a_training_to_a_recipe(copied: Path) -> None:
    """What was measured otherwise is removed, and nothing is trained."""
    folder = copied / "demo/baseline"
    measured = [folder / name for name in ("scores.npz", "scores_other.npz", "scores.json", "cost.json")]
    for path in (*measured, folder / "notes.txt"):
        path.touch()
    train("demo/baseline", tiny("demo/baseline", "data.workers=3"), Workspace(copied))
    assert all(path.exists() for path in measured)
    recipe = tiny("demo/baseline", "evaluation.images=2")
    train("demo/baseline", recipe, Workspace(copied))
    assert not any(path.exists() for path in measured) and (folder / "notes.txt").exists()
    assert yaml.safe_load((folder / "recipe.yaml").read_text()) == recipe.model_dump(mode="json")
    before = _contents(copied)
    train("demo/baseline", recipe, Workspace(copied))
    assert _contents(copied) == before


def test_precision_of_cached_scores_is_that_of_the_training(copied: Path) -> None:
    """They are what is trained on."""
    values = ["train_on=cached_scores", "data.crop=[33, 41]", "data.jitter=0", "model.segaware_layers=none"]
    train("mine", tiny("demo/segaware", *values), Workspace(copied))
    with pytest.raises(RecipeError, match=r"evaluation\.precision \(32-true there, bf16-mixed here\)"):
        train("mine", tiny("demo/segaware", *values, "evaluation.precision=bf16-mixed"), Workspace(copied))
