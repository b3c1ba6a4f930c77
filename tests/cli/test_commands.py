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
import torch
import yaml
from PIL import Image
from typer.testing import Result

from segaware.cli import doctor, show
from segaware.cli import recipes as recipes_command
from segaware.cli.main import app
from segaware.experiments.tasks.segmentation import tables
from segaware.experiments.tasks.segmentation.tables import draw_trimap, table_cells
from segaware.experiments.workspace import Workspace
from segaware.ops import _backends
from segaware.recipes import files
from segaware.recipes.files import load_recipe, recipe_names, table_names
from segaware.training import Devices, load_weights

Segaware = Callable[..., Result]
Fails = Callable[..., str]
BASELINE = Path(files.__file__).parent / "camvid/baseline.yaml"


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
    names = (
        "compare demo doctor embed eval explore export flow predict recipes refine separability submit table train tune"
    )
    assert sorted(COMMANDS) == names.split()


@pytest.mark.parametrize("command", COMMANDS)
def test_help(segaware: Segaware, command: str) -> None:
    result = segaware(command, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout and result.stderr == ""
    assert command in segaware("--help").stdout


def test_recipes_lists_everything(segaware: Segaware) -> None:
    lines = segaware("recipes").stdout.splitlines()
    for name in recipe_names():
        recipe = load_recipe(name)
        published = getattr(recipe, "published", None)
        paper = [] if published is None else [f"{published:.2f}", "in", "the", "paper"]
        assert any(line.split() == [name, *recipe.title.split(), *paper] for line in lines)
    assert lines[-1] == f"tables (segaware table NAME): {', '.join(table_names())}"


def test_recipes_lists_the_paper_s_number(segaware: Segaware, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes_command, "recipe_names", lambda: ["demo/baseline", "demo/embedding"])
    baseline = load_recipe("demo/baseline", ["published=66.3", "title=DeepLab"])
    monkeypatch.setattr(recipes_command, "load_recipe", lambda name: baseline if "base" in name else load_recipe(name))
    assert segaware("recipes").stdout.splitlines()[:2] == [
        "demo/baseline   DeepLab                66.30 in the paper",
        "demo/embedding  embeddings, pair loss",
    ]


def test_recipe_is_printed_with_overrides(segaware: Segaware) -> None:
    printed = yaml.safe_load(segaware("recipes", "demo/baseline", "train.epochs=31").stdout)
    assert printed["train"]["epochs"] == 31


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
    backends, _, _ = backends.partition("\n\n")
    lines = dict(line.split(maxsplit=1) for line in backends.splitlines())
    assert lines["reference"].startswith("available")
    if not torch.cuda.is_available():
        assert re.match(r"not available: (it needs an NVIDIA GPU, and this PyTorch|Triton cannot be)", lines["triton"])
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
    assert f"{100 * scores['boundary_iou']:.2f}" in scored.stdout and "boundary" in scored.stdout

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
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores\n"
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


@pytest.mark.parametrize(
    ("name", "place", "options", "costs"),
    [("demo", "demo", [], True), ("harley2017/table1", "harley2017/table1/voc", ["--no-costs"], False)],
)
def test_table(
    segaware: Segaware,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    place: str,
    options: list[str],
    costs: bool,
) -> None:
    values = _table() | {"table": name, "task": "segmentation", "figure": ["t/new"]}
    asked = []
    monkeypatch.setattr("segaware.cli.table.run_table", lambda *arguments: asked.append(arguments) or values)
    result = segaware(
        "table", name, "data=voc", "--out", tmp_path / "results", "--runs", tmp_path, "train.epochs=1", *options
    )
    assert result.exit_code == 0
    assert asked == [(name, Workspace(tmp_path), ["data=voc", "train.epochs=1"], costs, Devices())]
    path = tmp_path / "results" / f"{place}.json"
    assert json.loads(path.read_text()) == values
    assert Image.open(path.with_suffix(".png")).width > 1500
    files = sorted(file for file in (tmp_path / "results").rglob("*") if file.is_file())
    assert files == [path, path.with_suffix(".png")]
    assert "Tiny" in result.stdout and result.stdout.splitlines()[-2:] == [str(path.with_suffix(".png")), str(path)]


def test_figure_has_the_named_rows_and_their_differences(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(tables, "trimap_curve", lambda *arguments: drawn.append(arguments))
    draw_trimap(_table(), tmp_path / "a.png")
    draw_trimap(_table() | {"figure": ["t/control"]}, tmp_path / "b.png")
    (curves, half_widths, path, differences), second = drawn
    assert curves == {"T/NEW": [0.32, 0.16], "T/CONTROL": [0.3, 0.15]}
    assert (half_widths, path) == ([1, 3], tmp_path / "a.png")
    assert list(differences) == ["T/NEW", "T/CONTROL"]
    assert differences["T/NEW"] == [pytest.approx((0.08, 0.07, 0.092)), pytest.approx((-0.04, -0.05, -0.028))]
    assert list(second[0]) == list(second[3]) == ["T/CONTROL"]


def test_row_of_a_data_set(segaware: Segaware, fails: Fails, camvid: Path, tmp_path: Path) -> None:
    """train, eval and predict take `data=` of the table in the recipe's folder, and keep its runs apart."""
    folder = tmp_path / "recipes/street"
    folder.mkdir(parents=True)
    small = "data: {crop: [32, 40]}\nmodel: {width: 0.0625}\nevaluation: {validation_images: 2, half_widths: [1]}"
    (folder / "row.yaml").write_text(f"base: {BASELINE}\n{small}\n")
    changes = {"*": {"train": {"epochs": 1}, "title": "short"}}
    table = {
        "title": "Streets",
        "about": "",
        "control": "street/row",
        "rows": ["street/row"],
        "figure": None,
        "published": [],
    }
    table["data"] = {"long": {"about": "", "changes": {}}, "short": {"about": "", "changes": changes}}
    (folder / "table.yaml").write_text(yaml.safe_dump(table))
    runs = ("--runs", tmp_path / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_root", lambda: tmp_path / "recipes")
        trained = segaware("train", "street/row", "data=short", "--data-root", camvid, *runs)
        weights = tmp_path / "runs/short/street/row/model.safetensors"
        assert trained.exit_code == 0 and trained.stdout.splitlines()[-1] == str(weights)
        scored = segaware("eval", "street/row", "data=short", "--data-root", camvid, *runs)
        assert scored.exit_code == 0 and scored.stdout.splitlines()[-1] == str(weights.with_name("scores.json"))
        photos = camvid / "camvid/images/val"
        predicted = segaware(
            "predict", photos, "data=short", "--recipe", "street/row", *runs, "--out", tmp_path / "out"
        )
        assert predicted.exit_code == 0 and len(list((tmp_path / "out/labels").iterdir())) == 3
        assert "runs/long/street/row" in fails("eval", "street/row", "--data-root", camvid, *runs)  # the first
        assert "unknown data=shot for the table street: there are long, short" in fails(
            "train", "street/row", "data=shot"
        )
        assert yaml.safe_load(segaware("recipes", "street/row", "data=short").stdout)["title"] == "short"


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


def test_columns_that_a_row_has() -> None:
    table = _table()
    new, control = table["rows"]
    shift = {"difference": -0.02, "low": -0.03, "high": -0.01}
    new |= {"published": 68.574, "boundary_iou": 0.38, "boundary_iou_difference": shift, "peak_mb": 512.4}
    control |= {"published": None, "boundary_iou": 0.4, "boundary_iou_difference": shift, "peak_mb": None}
    assert table_cells(table, []) == (
        ["method", "paper", "mIoU", "boundary", "ms", "peak MB"],
        [
            ["T/NEW", "68.57", "64.0 (+4.0 [+3.0, +5.2])", "38.0 (-2.0 [-3.0, -1.0])", "13", "512"],
            ["T/CONTROL", "-", "60.0", "40.0", "13", "-"],
        ],
    )
    new |= {"published": None, "peak_mb": None}
    assert table_cells(table, [], boundary=False)[0] == ["method", "mIoU", "ms"]


def test_printed_table_keeps_its_first_column(capsys: pytest.CaptureFixture[str]) -> None:
    headers = ["method", *(f"column {i}" for i in range(12))]
    rows = [["all layers segmentation-aware + 9x9 filter", *["64.0 (+4.0)"] * 12]]
    show.show("Title", headers, rows)
    lines = capsys.readouterr().out.splitlines()
    assert any("│ all layers" in line and line.count("64.0 (+4.0)") == 12 for line in lines)
    assert max(map(len, lines)) == 1 + 27 + 12 * 14
