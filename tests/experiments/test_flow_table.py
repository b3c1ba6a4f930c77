"""Flow recipes, from training to the table, against loops that share no code with it but the metrics."""

import dataclasses
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segaware.data import DataError, dataset
from segaware.experiments import table
from segaware.experiments.comparison import draw_comparison
from segaware.experiments.evaluation import evaluate
from segaware.experiments.run import load_network
from segaware.experiments.table import run_table
from segaware.experiments.tasks.flow.scores import FlowScores
from segaware.experiments.tasks.flow.tables import flow_cells, other_cells
from segaware.experiments.tasks.flow.task import FlowTask
from segaware.experiments.workspace import Workspace
from segaware.metrics import AngularError, BoundaryEndPointError, EndPointError, FlAll
from segaware.recipes.files import RecipeError, load_recipe
from segaware.recipes.flow import FlowRecipe

from .tiny_data import write_data

NAME = "harley2017/table3"
ROWS = ("control", "variational", "filter_color", "segaware_color")
SMALL = (
    *("data.length=4", "data.size=[48, 64]", "data.crop=[32, 64]", "data.batch_size=2", "data.name=flying_shapes"),
    *("train.epochs=1", "train.learning_rate=0.01", "model.width=0.0625"),
    *("evaluation.images=3", "evaluation.validation_images=1", "evaluation.distances=[2, 5]"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def values(runs: Path, root: Path) -> dict[str, Any]:
    """The table of four rows."""
    whole = table.load_table(NAME)
    short = whole.model_copy(update={"rows": tuple(f"{NAME}/{row}" for row in ROWS), "figure": None})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "load_table", lambda name: short)
        return run_table(NAME, Workspace(runs, root), SMALL, costs=False)


def _scores(runs: Path, row: str) -> FlowScores:
    return FlowScores.load(runs / f"flying_voc/{NAME}/{row}/scores.npz")


def test_errors_are_those_of_the_metrics(values: dict[str, Any], runs: Path) -> None:
    row = values["rows"][2]
    recipe = load_recipe(row["recipe"], SMALL)
    network, _ = load_network(row["recipe"], recipe, Workspace(runs / "flying_voc").weights(row["recipe"]))
    metrics = [EndPointError(), AngularError(), FlAll(), BoundaryEndPointError((2, 5))]
    pairs = dataset("flying_shapes").open("val", length=160, size=(48, 64))
    moved = []
    for index in (0, 53, 106):  # three of 160, evenly spread
        sample = pairs[index]
        with torch.no_grad():
            flow = network(sample.image1[None], sample.image2[None])
        for metric in metrics:
            metric.update(flow, sample.flow[None], sample.valid[None])
        moved += [math.hypot(*sample.flow[:, i, j].tolist()) for i in range(48) for j in range(64)]
    wanted = [*(m.compute().item() for m in metrics[:3]), *metrics[3].compute().tolist()]
    assert row["errors"] == pytest.approx(wanted, rel=1e-5)
    edges = [*values["displacement_edges"], np.inf]
    counts = [sum(low <= m < high for m in moved) for low, high in pairwise(edges)]
    assert values["displacements"]["flying_shapes"] == counts
    assert values["images"] == 3 and values["distances"] == [2, 5]


def test_differences_are_to_the_control(values: dict[str, Any]) -> None:
    control, *others = values["rows"]
    assert all(d == {"difference": 0, "low": 0, "high": 0} for d in control["differences"])
    for row in others:
        for error, of_control, d in zip(row["errors"], control["errors"], row["differences"], strict=True):
            assert d["difference"] == pytest.approx(error - of_control, abs=1e-9)
            assert d["low"] <= d["high"]
    assert any(d["difference"] for d in others[-1]["differences"])


def test_row_that_trains_nothing_refines_the_control(values: dict[str, Any], runs: Path) -> None:
    control, refined = values["rows"][:2]
    assert (refined["steps"], refined["parameters"]) == (0, control["parameters"])
    assert refined["errors"] != control["errors"]


def test_other_data_sets_that_are_there_are_scored(values: dict[str, Any]) -> None:
    for row in values["rows"]:
        assert list(row["also"]) == ["flying_chairs_all"]  # Middlebury is not
        scores = row["also"]["flying_chairs_all"]
        assert scores["end_point_error"] == pytest.approx(np.mean(list(scores["pairs"].values())))
    headers, rows = other_cells(values)
    assert headers == ["method", "flying_chairs_all, 6 pairs"] and len(rows) == len(ROWS)


def test_cells(values: dict[str, Any]) -> None:
    assert values["task"] == "flow"
    headers, rows = flow_cells(values)
    assert headers[:6] == ["method", "paper", "error [px]", "2 px", "5 px", "> 5 px"]
    assert rows[0][:3] == ["FlowNetSimple", "2.78 / 15.58", f"{values['rows'][0]['errors'][0]:.2f}"]
    assert rows[-1][:3] == ["LDOF (published)", "3.47", "-"]
    difference = values["rows"][2]["differences"][0]
    assert f"[{difference['low']:+.2f}, {difference['high']:+.2f}])" in rows[2][2]
    assert all(len(row) == len(headers) for row in rows)


def test_scores_are_kept(values: dict[str, Any], runs: Path, tmp_path: Path) -> None:
    scores = _scores(runs, "control")
    scores.save(tmp_path / "scores.npz")
    again = FlowScores.load(tmp_path / "scores.npz")
    for field in dataclasses.fields(FlowScores):
        old, new = getattr(scores, field.name), getattr(again, field.name)
        assert torch.equal(old, new) if isinstance(old, torch.Tensor) else old == new, field.name


def test_comparison_shows_the_largest_gain_first(values: dict[str, Any], runs: Path) -> None:
    names = (f"{NAME}/control", f"{NAME}/segaware_color")
    recipes = tuple(load_recipe(name, SMALL) for name in names)
    picture = draw_comparison(names, recipes, Workspace(runs / "flying_voc"), count=1)  # type: ignore[arg-type]
    first, second = (_scores(runs, row) for row in ("control", "segaware_color"))
    gains = FlowTask().gains(first, second)
    per_pair = [s.sums[:, 0, 0] / s.sums[:, 0, 1] for s in (first, second)]
    torch.testing.assert_close(gains, per_pair[0] - per_pair[1])
    height, width, _ = picture.shape
    assert picture.dtype == np.uint8 and height % 2 == 0 and width > 8 * 64


def test_stages_do_not_mix(values: dict[str, Any], runs: Path) -> None:
    with pytest.raises(RecipeError, match="different stages"):
        names = (f"{NAME}/control", "demo/control")
        draw_comparison(names, (load_recipe(names[0]), load_recipe(names[1])), Workspace(runs), count=1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.length=null", "data.length: generated pairs need it .* got None for flying_shapes"),
        ("data.size=null", "data.size: generated pairs need it .* got None for flying_shapes"),
        ("data.name=middlebury", r"data.length: .* other data null, got 4 for middlebury"),
    ],
)
def test_bad_data(override: str, message: str) -> None:
    recipe = load_recipe(f"{NAME}/control", [*SMALL, override])
    assert isinstance(recipe, FlowRecipe)
    with pytest.raises(RecipeError, match=message):
        evaluate(recipe, torch.nn.Identity(), Workspace(Path()))


def test_missing_data_set() -> None:
    recipe = load_recipe(f"{NAME}/control", data="flying_chairs")
    assert isinstance(recipe, FlowRecipe)
    with pytest.raises(DataError, match="'flying_chairs' is read from disk"):
        evaluate(recipe, torch.nn.Identity(), Workspace(Path()))
