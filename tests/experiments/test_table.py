"""A whole table: trained in order, scored once, compared with its control."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from segaware.experiments import run, table
from segaware.experiments.table import run_table
from segaware.experiments.tasks.segmentation.scores import SegmentationScores
from segaware.experiments.workspace import Workspace
from segaware.metrics import mean_boundary_iou, paired_bootstrap
from segaware.recipes import files
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe
from segaware.training import load_weights

from .tiny_recipes import STEPS, write_table

ROWS = ("tiny/segaware", "tiny/control", "tiny/baseline")  # none after its own start
COST = {"milliseconds": 1.5, "peak_mb": 7.5, "image": [48, 48]}


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny table and its recipes."""
    root = tmp_path_factory.mktemp("recipes")
    write_table(root / "tiny", ROWS)
    write_table(root / "odd", ("odd/baseline", "odd/embedding"), control="odd/baseline")
    return root


@pytest.fixture(autouse=True)
def _tiny_root(recipes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_root", lambda: recipes)
    monkeypatch.setattr(table, "measure_cost", lambda *_: COST)


@pytest.fixture(scope="module")
def finished(recipes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with everything trained and scored, and the table."""
    runs = tmp_path_factory.mktemp("table") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_root", lambda: recipes)
        patch.setattr(table, "measure_cost", lambda *_: COST)
        return runs, run_table("tiny", Workspace(runs))


def _fail(*_: Any) -> None:
    raise AssertionError("done again")


def test_values(finished: tuple[Path, dict[str, Any]]) -> None:
    runs, values = finished
    assert json.loads(json.dumps(values)) == values
    assert (values["table"], values["title"], values["about"]) == ("tiny", "Tiny", "Tiny networks.")
    assert (values["images"], values["control"], values["half_widths"]) == (3, "tiny/control", [1, 3])
    assert (values["data"], values["figure"]) == (None, list(ROWS))
    assert values["interval"].startswith("95 %, paired bootstrap over images")
    assert values["measured"]["command"].startswith("segaware") and "commit" in values["measured"]
    assert [row["recipe"] for row in values["rows"]] == list(ROWS)
    control = SegmentationScores.load(runs / "tiny/control/scores.npz")
    for row in values["rows"]:
        scores = SegmentationScores.load(runs / row["recipe"] / "scores.npz")
        assert (row["miou"], row["trimap_miou"]) == (scores.miou, scores.trimap_miou)
        assert row["boundary_iou"] == scores.boundary_iou
        assert (row["milliseconds"], row["peak_mb"], row["published"]) == (1.5, 7.5, None)
        assert tuple(row["miou_difference"].values()) == paired_bootstrap(scores.confusion, control.confusion)
        assert row["miou_difference"]["difference"] == pytest.approx(scores.miou - control.miou)
        boundary = paired_bootstrap(scores.boundary, control.boundary, mean_boundary_iou)
        assert tuple(row["boundary_iou_difference"].values()) == boundary
        for band in range(2):
            wanted = paired_bootstrap(scores.trimap[:, band], control.trimap[:, band])
            assert tuple(row["trimap_miou_difference"][band].values()) == wanted
        tensors, description = load_weights(runs / row["recipe"] / "model.safetensors")
        assert row["trained"] == {key: description[key] for key in ("command", "commit", "torch", "machine")}
        assert (row["seed"], row["steps"], row["seconds"]) == (0, STEPS, description["seconds"])
        hardness = {
            key.removeprefix("refinement."): round(tensor.item(), 4)
            for key, tensor in tensors.items()
            if key.endswith("hardness")
        }
        assert row["hardness"] == hardness
        buffers = ("running_mean", "running_var", "num_batches_tracked", "feature_rms")
        assert row["parameters"] == sum(t.numel() for key, t in tensors.items() if not key.endswith(buffers))
    assert values["rows"][0]["hardness"].keys() == {"fc6.hardness", "filter.hardness"}


def test_control_differs_from_itself_by_nothing(finished: tuple[Path, dict[str, Any]]) -> None:
    row = finished[1]["rows"][ROWS.index("tiny/control")]
    nothing = {"difference": 0, "low": 0, "high": 0}
    assert row["miou_difference"] == nothing
    assert row["trimap_miou_difference"] == [nothing, nothing]
    assert row["boundary_iou_difference"] == nothing


def test_second_call_does_nothing_again(finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "fit", _fail)
    monkeypatch.setattr(table, "evaluate", _fail)
    runs, values = finished
    again = run_table("tiny", Workspace(runs))
    assert {**again, "measured": None} == {**values, "measured": None}


def test_order_and_going_on_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[str] = []
    original = run.fit

    def fit(stage: Any, train: Any, validation: Any, folder: Path, *rest: Any) -> None:
        name = str(folder.relative_to(tmp_path))
        if name == "tiny/control" and "interrupted" not in fitted:
            fitted.append("interrupted")
            raise KeyboardInterrupt
        fitted.append(name)
        original(stage, train, validation, folder, *rest)

    monkeypatch.setattr(run, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        run_table("tiny", Workspace(tmp_path))
    assert fitted == ["tiny/baseline", "tiny/embedding", "tiny/segaware", "interrupted"]
    run_table("tiny", Workspace(tmp_path))
    assert fitted[4:] == ["tiny/control"]


def test_new_weights_are_scored_again(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = shutil.copytree(finished[0], tmp_path / "runs")
    newer = (runs / "tiny/baseline/scores.npz").stat().st_mtime_ns + 10**9
    os.utime(runs / "tiny/baseline/model.safetensors", ns=(newer, newer))
    scored: list[str] = []
    original = table.evaluate

    def evaluate(recipe: Recipe, *rest: Any) -> SegmentationScores:
        scored.append(recipe.title)
        return original(recipe, *rest)

    monkeypatch.setattr(table, "evaluate", evaluate)
    run_table("tiny", Workspace(runs))
    assert scored == [files.load_recipe("tiny/baseline").title]


def test_differences_by_hand(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The control is right everywhere; a row takes 5 of 10 pixels of class 0 for class 1, on every image."""
    runs = shutil.copytree(finished[0], tmp_path / "runs")
    right, wrong = torch.tensor([[10, 0], [0, 10]]), torch.tensor([[5, 5], [0, 10]])
    all_of_it, half = torch.tensor([[8, 8], [8, 8]]), torch.tensor([[4, 8], [8, 16]])
    for row in ROWS:
        whole = right if row == "tiny/control" else wrong
        bands = torch.stack([right, whole])  # near the border all are right
        boundary = all_of_it if row == "tiny/control" else half
        counts = (whole.repeat(3, 1, 1), bands.repeat(3, 1, 1, 1), boundary.repeat(3, 1, 1))
        scores = SegmentationScores(
            names=("a", "b", "c"),
            sizes=torch.tensor([[4, 5]] * 3),
            milliseconds=2.5,
            confusion=counts[0],
            trimap=counts[1],
            boundary=counts[2],
            half_widths=(1, 3),
        )
        scores.save(runs / row / "scores.npz")
    segaware, control, _ = run_table("tiny", Workspace(runs), costs=False)["rows"]
    assert (control["miou"], control["trimap_miou"]) == (1, [1, 1])
    assert (segaware["milliseconds"], segaware["peak_mb"]) == (2.5, None)
    fall = (5 / 10 + 10 / 15) / 2 - 1
    assert list(segaware["miou_difference"].values()) == pytest.approx([fall] * 3)
    near, far = segaware["trimap_miou_difference"]
    assert list(near.values()) == [0, 0, 0]
    assert list(far.values()) == pytest.approx([fall] * 3)
    assert (control["boundary_iou"], segaware["boundary_iou"]) == (1, 0.5)
    assert list(segaware["boundary_iou_difference"].values()) == pytest.approx([-0.5] * 3)


def test_other_values_than_the_trained_ones(finished: tuple[Path, dict[str, Any]], recipes: Path) -> None:
    path = recipes / "tiny/baseline.yaml"
    text = path.read_text()
    path.write_text(text.replace("seed: 0", "seed: 1"))
    try:
        with pytest.raises(RecipeError, match="tiny/baseline holds a training with other values"):
            run_table("tiny", Workspace(finished[0]))
    finally:
        path.write_text(text)


def test_other_words_do_not_train_again(
    finished: tuple[Path, dict[str, Any]], recipes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "fit", _fail)
    path = recipes / "tiny/baseline.yaml"
    text = path.read_text()
    path.write_text(text.replace("title: DeepLab", "title: Renamed").replace("published: null", "published: 66.3"))
    try:
        row = run_table("tiny", Workspace(finished[0]))["rows"][ROWS.index("tiny/baseline")]
    finally:
        path.write_text(text)
    assert (row["title"], row["published"]) == ("Renamed", 66.3)


def test_cost_is_that_of_the_largest_image(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = shutil.copytree(finished[0], tmp_path / "runs")
    for path in runs.glob("tiny/*/scores.npz"):
        dataclasses.replace(SegmentationScores.load(path), sizes=torch.tensor([[6, 4], [5, 5], [1, 25]])).save(path)
    asked = []
    monkeypatch.setattr(table, "measure_cost", lambda *arguments: asked.append(arguments) or COST)
    run_table("tiny", Workspace(runs, tmp_path))
    assert [(folder, index, root) for folder, index, _, root in asked] == [(runs / row, 1, tmp_path) for row in ROWS]


def test_embedding_is_no_row(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="compares what predicts; odd/embedding, of the embedding stage, does not"):
        run_table("odd", Workspace(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
