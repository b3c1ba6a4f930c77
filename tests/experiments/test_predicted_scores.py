"""Sharpening what real networks have predicted: training, scoring, a table, pictures."""

from pathlib import Path

import numpy as np
import pytest

from segaware.experiments.build import open_data
from segaware.experiments.comparison import draw_comparison
from segaware.experiments.evaluation import evaluate
from segaware.experiments.run import load_network, train
from segaware.experiments.table import run_table
from segaware.experiments.workspace import Workspace
from segaware.metrics import confusion_matrix
from segaware.recipes.files import RecipeError, load_recipe
from segaware.recipes.schema import Recipe

from ..data.test_everyday import write_set
from ..data.test_predictions import write_probability


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(2):
            mask = np.pad(np.ones((20, 24), np.uint8), 10 + number)
            write_set(root, "faces", mask, split, f"{split}{number}")
            probability = np.clip(mask + rng.normal(0, 0.3, mask.shape), 0, 1)
            write_probability(root, f"selfie/everyday/{split}/faces", probability, f"{split}{number}")
    return root


def _recipe(name: str, *overrides: str) -> Recipe:
    return load_recipe(f"everyday/predictions/{name}", overrides, data="selfie_faces")


def test_unrefined_scores_are_those_of_the_files(root: Path, tmp_path: Path) -> None:
    recipe, workspace = _recipe("bilinear"), Workspace(tmp_path, root)
    name = "everyday/predictions/bilinear"
    train(name, recipe, workspace)
    scores = evaluate(recipe, load_network(name, recipe, workspace.weights(name))[0], workspace)
    for counted, sample in zip(scores.confusion, open_data(recipe, "val", root), strict=True):  # type: ignore[attr-defined]
        assert (counted == confusion_matrix(sample.scores.argmax(0)[None], sample.label[None], 2)).all()


def test_a_table_and_its_pictures(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = [f"everyday/predictions/{name}" for name in ("bilinear", "color", "guided_8")]
    (folder / "table.yaml").write_text(
        f"title: Mine\nabout: Mine.\ncontrol: {rows[0]}\nrows: [{', '.join(rows)}]\nfigure: null\n"
        "published: []\ndata: {}\n"
    )
    workspace = Workspace(tmp_path / "runs", root)
    overrides = ["data.name=selfie_faces"]
    table = run_table(str(folder / "table.yaml"), workspace, overrides, costs=False)
    assert [row["recipe"] for row in table["rows"]] == rows and table["half_widths"] == [1, 3, 5, 10]
    assert all(row["boundary_iou"] > 0 for row in table["rows"])
    names = rows[0], rows[1]
    recipes = load_recipe(names[0], overrides), load_recipe(names[1], overrides)
    assert draw_comparison(names, recipes, workspace, 1).shape[2] == 3


def test_training_on_predictions(root: Path, tmp_path: Path) -> None:
    train_values = load_recipe("harley2017/sharpening/filter").model_dump(mode="json")["train"]
    train_values |= {"steps": 2, "frozen": []}
    recipe = _recipe("color", f"train={train_values}", "data.crop=[33, 33]", "data.batch_size=2", "loss_at=image")
    workspace = Workspace(tmp_path, root)
    name = "everyday/predictions/color"
    train(name, recipe, workspace)
    network, description = load_network(name, recipe, workspace.weights(name))
    assert description["steps"] == 1
    assert network.get_submodule("refinement").filter.hardness != 1.76  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("predictions/bilinear", "data.name=ecssd", "scores: must be blurred for data set ecssd, got predicted"),
        ("sharpening/bilinear", "data.name=u2netp_ecssd", "scores: must be predicted for data set u2netp_ecssd"),
    ],
)
def test_scores_that_a_data_set_does_not_have(tmp_path: Path, name: str, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        open_data(load_recipe(f"everyday/{name}", [override]), "val", tmp_path)


def test_only_a_sharpening_takes_predictions() -> None:
    with pytest.raises(RecipeError, match=r"data\.name: .*unknown data set for segmentation 'u2netp_duts'"):
        load_recipe("camvid/baseline", ["data.name=u2netp_duts"])
    with pytest.raises(RecipeError, match=r"data\.name: .*unknown data set"):
        load_recipe("everyday/predictions/bilinear", ["data.name=kitti2015"])
