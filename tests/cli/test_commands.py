"""The commands, end to end on tiny data."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import Result

from segaware.cli import doctor
from segaware.cli.main import app
from segaware.cli.tables import table_cells
from segaware.ops import _backends
from segaware.recipes.files import load_recipe, recipe_names, table_names
from segaware.training import load_weights

Segaware = Callable[..., Result]
Fails = Callable[..., str]


@pytest.fixture
def recipe(tmp_path: Path, segaware: Segaware) -> Path:
    """A file with a tiny recipe for CamVid, made from what `segaware recipes` prints."""
    values = yaml.safe_load(segaware("recipes", "camvid/baseline").stdout)
    values["data"] |= {"crop": [32, 40], "batch_size": 4}
    values["model"]["width"] = 0.0625
    values["train"]["epochs"] = 1
    values["evaluation"] |= {"validation_images": 2, "half_widths": [1, 5]}
    path = tmp_path / "street.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]  # type: ignore[union-attr]


def test_commands() -> None:
    assert sorted(COMMANDS) == ["bench", "demo", "doctor", "eval", "predict", "recipes", "table", "train"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(segaware: Segaware, command: str) -> None:
    result = segaware(command, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout and result.stderr == ""
    assert command in segaware("--help").stdout


def test_recipes_lists_everything(segaware: Segaware) -> None:
    lines = segaware("recipes").stdout.splitlines()
    for name in recipe_names():
        assert any(line.split() == [name, *load_recipe(name).title.split()] for line in lines)
    assert lines[-1] == f"tables (segaware table NAME): {', '.join(table_names())}"


@pytest.mark.parametrize("name", ["demo/embedding", "demo/segaware"])
def test_a_printed_recipe_is_a_recipe(segaware: Segaware, tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(segaware("recipes", name).stdout)
    assert load_recipe(str(path)) == load_recipe(name)


def test_doctor(segaware: Segaware, monkeypatch: pytest.MonkeyPatch) -> None:
    backends = {"fast": "available", "faster": "not available: no such processor"}
    monkeypatch.setattr(doctor, "backend_notes", lambda: backends)
    result = segaware("doctor")
    assert result.exit_code == 0
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines() if line]
    assert ["fast", "available"] in lines and ["faster", "not available: no such processor"] in lines
    for package in ("segaware", "torch", "numpy", "lightning"):
        assert any(line[0] == package and line[1][0].isdigit() for line in lines)


def test_doctor_names_every_backend_with_a_reason(segaware: Segaware, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, backends = segaware("doctor").stdout.partition("backends of the operators\n")
    lines = dict(line.split(maxsplit=1) for line in backends.splitlines())
    assert lines["reference"].startswith("available") and lines["triton"].startswith("not available: this version")
    assert re.fullmatch(
        r"available: .* of torch's OpenMP threads; compiled at the first call, kept in .+", lines["numba"]
    )
    monkeypatch.setitem(_backends._problems, "numba", "Numba cannot be imported (no such module)")
    assert re.search(r"^numba +not available: Numba cannot be imported", segaware("doctor").stdout, re.MULTILINE)


def test_train_eval_predict(segaware: Segaware, fails: Fails, recipe: Path, camvid: Path, tmp_path: Path) -> None:
    runs = ("--runs", tmp_path / "runs")
    weights = tmp_path / "runs/street/model.safetensors"

    trained = segaware("train", recipe, "--data-root", camvid, *runs)
    assert trained.exit_code == 0 and trained.stdout.splitlines()[-1] == str(weights)
    assert "other values" in fails("train", recipe, "seed=1", "--data-root", camvid, *runs)

    scored = segaware("eval", recipe, "--data-root", camvid, *runs)
    assert scored.exit_code == 0 and scored.stdout.splitlines()[-1] == str(tmp_path / "runs/street/scores.json")
    scores = json.loads((tmp_path / "runs/street/scores.json").read_text())
    assert (scores["recipe"], scores["images"]) == (str(recipe), 3)
    assert 0 <= scores["miou"] <= 1 and scores["trimap_miou"].keys() == {"1", "5"}
    assert scores["measured"]["command"].startswith("segaware") and "commit" in scores["measured"]
    assert f"{100 * scores['miou']:.2f}" in scored.stdout and " 5 px" in scored.stdout

    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (7, 9)), ("b.bmp", (51, 30))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(photos / name)
    (photos / "notes.txt").touch()
    predicted = segaware("predict", photos, "--recipe", recipe, *runs, "--out", out)
    assert predicted.exit_code == 0
    assert f"left out, not an image: {photos / 'notes.txt'}" in predicted.stdout
    assert f"2 images: {out / 'labels'}, {out / 'pictures'}" in predicted.stdout
    assert {str(path.relative_to(out)) for path in out.rglob("*.*")} == {
        "labels/a.png", "labels/b.png", "pictures/a.png", "pictures/b.png"
    }  # fmt: skip
    assert Image.open(out / "labels/b.png").size == (30, 51)

    empty = tmp_path / "empty"
    empty.mkdir()
    again = tmp_path / "again"
    assert "empty: no image" in fails("predict", empty, "--recipe", recipe, *runs, "--out", again)
    (photos / "c.png").write_bytes(b"no image")
    assert "c.png: cannot be decoded" in fails("predict", photos, "--recipe", recipe, *runs, "--out", again)
    assert not again.exists()


def test_checkpoint_of_another_folder(segaware: Segaware, recipe: Path, camvid: Path, tmp_path: Path) -> None:
    assert segaware("train", recipe, "--data-root", camvid, "--runs", tmp_path / "runs").exit_code == 0
    moved = (tmp_path / "runs/street/model.safetensors").rename(tmp_path / "moved.safetensors")
    arguments = ("--data-root", camvid, "--runs", tmp_path / "new", "--checkpoint", moved)
    assert segaware("eval", recipe, *arguments).exit_code == 0
    assert json.loads((tmp_path / "new/street/scores.json").read_text())["images"] == 3


def test_data_root_from_the_environment(
    segaware: Segaware, recipe: Path, camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGAWARE_DATA", str(camvid))
    assert segaware("train", recipe, "train.epochs=1", "--runs", tmp_path / "runs").exit_code == 0


def test_ctrl_c_in_a_real_process(segaware: Segaware, recipe: Path, camvid: Path, tmp_path: Path) -> None:
    """SIGINT arrives in the middle of the second epoch; the second call goes on where the first stopped."""
    code = (
        "import os, signal\n"
        "from segaware.training import SegmentationStage\n"
        "step = SegmentationStage.training_step\n"
        "def stop(stage, batch, index):\n"
        "    if stage.global_step == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return step(stage, batch, index)\n"
        "SegmentationStage.training_step = stop\n"
        "from segaware.cli.main import app\n"
        "app()\n"
    )
    arguments = ["train", str(recipe), "train.epochs=3", "--data-root", str(camvid), "--runs", str(tmp_path / "runs")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    assert result.returncode == 130
    assert result.stderr == "segaware: interrupted; the same command goes on from the last checkpoint\n"
    assert (tmp_path / "runs/street/checkpoints/interrupted.ckpt").is_file()

    assert segaware(*arguments).exit_code == 0
    _, description = load_weights(tmp_path / "runs/street/model.safetensors")
    assert description["steps"] == 6 and description["seconds"] is None  # only a resumed training has no time


def test_table(segaware: Segaware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = _table()
    monkeypatch.setattr("segaware.cli.main.run_table", lambda name, runs, root: values)
    result = segaware("table", "demo", "--out", tmp_path / "results")
    assert result.exit_code == 0
    assert json.loads((tmp_path / "results/demo.json").read_text()) == values
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["demo.json"]
    assert "Tiny" in result.stdout and result.stdout.splitlines()[-1] == str(tmp_path / "results/demo.json")


def _table() -> dict[str, Any]:
    def difference(value: float) -> dict[str, float]:
        return {"difference": value, "low": value - 0.01, "high": value + 0.012}

    def row(name: str, miou: float, shift: float) -> dict[str, Any]:
        return {
            "recipe": name,
            "title": name.upper(),
            "miou": miou,
            "trimap_miou": [miou / 2, miou / 4],
            "miou_difference": difference(shift),
            "trimap_miou_difference": [difference(2 * shift), difference(-shift)],
            "milliseconds": 12.6,
        }

    rows = [row("t/new", 0.64, 0.04), row("t/control", 0.6, 0.0)]
    return {"title": "Tiny", "control": "t/control", "half_widths": [1, 3], "rows": rows}


def test_table_cells() -> None:
    assert table_cells(_table(), [3, 10, 1]) == (
        ["method", "mIoU", "3 px", "1 px", "ms"],
        [
            ["T/NEW", "64.0 (+4.0 [+3.0, +5.2])", "16.0 (-4.0 [-5.0, -2.8])", "32.0 (+8.0 [+7.0, +9.2])", "13"],
            ["T/CONTROL", "60.0", "15.0", "30.0", "13"],
        ],
    )
    assert table_cells(_table(), [3], intervals=False)[1] == [
        ["T/NEW", "64.0 (+4.0)", "16.0 (-4.0)", "13"],
        ["T/CONTROL", "60.0", "15.0", "13"],
    ]
