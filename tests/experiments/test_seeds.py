"""A table over seeds: every seed trained for itself, and compared over images and seeds."""

from pathlib import Path

import pytest

from segaware.experiments import table
from segaware.experiments.seeds import run_seeds
from segaware.experiments.tasks.segmentation.scores import SegmentationScores
from segaware.experiments.workspace import Workspace
from segaware.metrics import paired_bootstrap
from segaware.recipes import files
from segaware.recipes.files import RecipeError
from segaware.training import load_weights

from .tiny_recipes import write_table

ROWS = ("tiny/baseline", "tiny/control")


def test_table_over_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "recipes/tiny", ROWS)
    monkeypatch.setattr(files, "_root", lambda: tmp_path / "recipes")
    costs = iter([3.0, 1.0, 5.0, 2.0])
    monkeypatch.setattr(table, "measure_cost", lambda *_: {"milliseconds": next(costs), "peak_mb": 7.5})
    values = run_seeds("tiny", (0, 3), Workspace(tmp_path / "runs"))
    assert values["seeds"] == [0, 3]
    assert values["interval"].startswith("95 %, paired bootstrap over images and seeds")
    scores = {
        row: [SegmentationScores.load(tmp_path / f"runs/seed{seed}" / row / "scores.npz") for seed in (0, 3)]
        for row in ROWS
    }
    baseline, control = values["rows"]
    assert baseline["seed"] == [0, 3] and [one["seed"] for one in baseline["by_seed"]] == [0, 3]
    assert baseline["miou"] == pytest.approx(sum(one.miou for one in scores["tiny/baseline"]) / 2)
    assert [one["miou"] for one in baseline["by_seed"]] == [one.miou for one in scores["tiny/baseline"]]
    confusions = [[one.confusion for one in scores[row]] for row in ROWS]
    assert tuple(baseline["miou_difference"].values()) == paired_bootstrap(*confusions)
    assert control["miou_difference"] == {"difference": 0, "low": 0, "high": 0}
    assert baseline["milliseconds"] == 4.0
    trained = [load_weights(tmp_path / f"runs/seed{seed}/tiny/baseline/model.safetensors")[1] for seed in (0, 3)]
    assert [description["values"]["seed"] for description in trained] == [0, 3]


@pytest.mark.parametrize("seeds", [(), (0,), (1, 1)])
def test_too_few_seeds(seeds: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="seeds must be two or more different ones"):
        run_seeds("camvid", seeds, Workspace(tmp_path))


def test_tables_of_flow_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="harley2017/table3 is a table of flow"):
        run_seeds("harley2017/table3", (0, 1), Workspace(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
