"""What a user can mend is told in one line on stderr with exit status 1, before anything is written."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Fails = Callable[..., str]
SMALL = ("data.crop=[32, 32]", "data.batch_size=4", "train.epochs=1", "model.width=0.0625")


def test_recipes(fails: Fails, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert "did you mean demo/baseline" in fails("train", "demo/base", "--runs", runs)
    assert "unknown recipe 'demo/base'" in fails("recipes", "demo/base")
    assert "did you mean camvid" in fails("table", "camvit", "--runs", runs, "--out", tmp_path)
    assert "did you mean train.epochs" in fails("train", "demo/baseline", "train.epoch=3", "--runs", runs)
    assert "must read key=value" in fails("eval", "demo/baseline", "fast", "--runs", runs)
    assert "is not YAML" in fails("train", "demo/baseline", "data.crop=[1,", "--runs", runs)
    assert not runs.exists()


def test_recipe_file(fails: Fails, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("a: [1")
    assert f"{path} is not YAML" in fails("recipes", path)
    path.write_text("stage: segmentation")
    assert f"recipe {path}: title: Field required" in fails("recipes", path)


def test_missing_data(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    monkeypatch.delenv("SEGAWARE_DATA", raising=False)
    assert "pass --data-root FOLDER or set SEGAWARE_DATA" in fails("train", "camvid/baseline", "--runs", runs)
    line = fails("train", "camvid/baseline", "--runs", runs, "--data-root", tmp_path)
    assert line.startswith(f"{tmp_path}/camvid/images/train: no such folder; data set 'camvid' wants camvid/images/")
    monkeypatch.setenv("SEGAWARE_DATA", str(tmp_path / "elsewhere"))
    assert "elsewhere/camvid/images/train" in fails("table", "camvid", "--runs", runs, "--out", tmp_path / "results")
    assert not runs.exists()


def test_missing_weights(fails: Fails, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    out, runs = tmp_path / "out", tmp_path / "runs"
    first = "run `segaware train demo/baseline` first"
    assert first in fails("eval", "demo/baseline", "--runs", runs)
    assert first in fails("predict", tmp_path, "--recipe", "demo/baseline", "--runs", runs, "--out", out)
    missing = tmp_path / "nowhere.safetensors"
    assert f"no weights at {missing}" in fails("eval", "demo/baseline", "--checkpoint", missing, "--runs", runs)
    assert first in fails("train", "demo/control", "--runs", runs)
    missing.write_bytes(b"garbage")
    assert "is not a weights file" in fails("eval", "demo/baseline", "--checkpoint", missing, "--runs", runs)
    assert not out.exists() and not runs.exists()


def test_embeddings_predict_nothing(fails: Fails, tmp_path: Path) -> None:
    assert "is of the embedding stage" in fails(
        "predict", tmp_path, "--recipe", "demo/embedding", "--out", tmp_path / "out"
    )


def test_data_that_is_missing_in_part(fails: Fails, camvid: Path, tmp_path: Path) -> None:
    (camvid / "camvid/labels/train/street3.png").unlink()
    line = fails("train", "camvid/baseline", *SMALL, "--data-root", camvid, "--runs", tmp_path / "runs")
    assert "labels/train/street3.png: no such file" in line and "1 of 8" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("size", "value", "message"),
    [
        ((40, 56), 11, "label value 11 at row 0, column 0 is neither in 0..10 nor 255"),
        ((40, 55), 0, "the label's size 40x55 (height x width) is not its image's 40x56"),
    ],
)
def test_broken_label(
    fails: Fails, camvid: Path, tmp_path: Path, size: tuple[int, int], value: int, message: str
) -> None:
    path = camvid / "camvid/labels/train/street3.png"
    Image.fromarray(np.full(size, value, np.uint8)).save(path)
    line = fails("train", "camvid/baseline", *SMALL, "--data-root", camvid, "--runs", tmp_path / "runs")
    assert line == f"{path}: {message}"
    assert not (tmp_path / "runs/camvid/baseline/model.safetensors").exists()


def test_ctrl_c(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segaware.cli.train.train_recipe", stopped)
    line = fails("train", "demo/baseline", "--runs", tmp_path, status=130)
    assert line == "interrupted; the same command goes on from the last checkpoint"


@pytest.mark.parametrize("option", ["--devices=0", "--accelerator=abacus", "--strategy=luck", "--devices=0,0,0"])
def test_devices_that_are_not_there(fails: Fails, tmp_path: Path, option: str) -> None:
    name, _, value = option.removeprefix("--").partition("=")
    line = fails("train", "demo/baseline", "--runs", tmp_path, "--accelerator=cpu", option)
    assert line.startswith("devices: ") and (name in line or value in line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_of_queues(
    fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The status tells them apart, for whoever puts the command into the queue again."""
    monkeypatch.setattr("segaware.cli.train.train_recipe", lambda *_: os.kill(os.getpid(), number))
    line = fails("train", "demo/baseline", "--runs", tmp_path, status=128 + number)
    assert line == "terminated; the same command goes on from the last checkpoint"


def test_message_of_many_lines_becomes_one(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("first\n\n   second\n")

    monkeypatch.setattr("segaware.cli.train.train_recipe", broken)
    assert fails("train", "demo/baseline", "--runs", tmp_path) == "first second"


@pytest.mark.parametrize("command", ["demo", "table"])
def test_output_that_cannot_be_written(fails: Fails, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    name = ["demo"] if command == "table" else []
    assert f"{tmp_path}/file" in fails(command, *name, "--out", tmp_path / "file" / "results")
