"""A task that is not ours is trained, scored and compared."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest

from segaware.experiments import tasks
from segaware.experiments.table import run_table
from segaware.experiments.tasks import named_task, register_task
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import load_recipe
from segaware.recipes.stages import STAGES

from .depth_task import RECIPE, DepthTask


def test_depth(tmp_path: Path) -> None:
    train = load_recipe("demo/baseline", ["train.epochs=2"]).model_dump(mode="json")["train"]
    for title, filtered in (("plain", False), ("filtered", True)):
        text = RECIPE.format(title=title, filtered=filtered, train=json.dumps(train))
        (tmp_path / f"{title}.yaml").write_text(text)
    rows = {
        "control": "plain.yaml",
        "rows": ["plain.yaml", "filtered.yaml"],
        "figure": None,
        "published": [],
        "data": {},
    }
    (tmp_path / "depths.yaml").write_text(json.dumps({"title": "Depth", "about": "Slopes.", **rows}))
    with patch.dict(STAGES), patch.dict(tasks._TASKS):
        register_task("depth", DepthTask())
        table = run_table(str(tmp_path / "depths.yaml"), Workspace(tmp_path / "runs"), costs=False)
        assert named_task(table["task"]).cells(table)[1] == [[r["title"], f"{r['error']:.3f}"] for r in table["rows"]]
    plain, filtered = table["rows"]
    assert (plain["steps"], plain["difference"]["low"]) == (12, 0.0) and table["images"] == 6
    assert filtered["difference"]["difference"] == pytest.approx(filtered["error"] - plain["error"])
    assert filtered["hardness"] and filtered["error"] < 0.5 and (tmp_path / "runs/plain/model.safetensors").is_file()
