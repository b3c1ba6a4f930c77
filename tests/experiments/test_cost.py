"""Time and memory of one image, measured in a process of its own."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from segaware.experiments import cost, cost_process
from segaware.experiments.cost import measure_cost
from segaware.experiments.run import train
from segaware.experiments.tasks.segmentation.task import SegmentationTask
from segaware.experiments.workspace import Workspace
from segaware.fresh_process import run_fresh
from segaware.process_memory import process_memory
from segaware.recipes.files import RecipeError, load_recipe

from .tiny_data import write_data

TASK = SegmentationTask()
MODULE = "segaware.experiments.tasks.segmentation.task"

linux = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")


@pytest.fixture
def folder(runs: Path, tmp_path: Path) -> Path:
    return shutil.copytree(runs / "demo/segaware", tmp_path / "segaware")


def _fake(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    called: list[tuple[str, ...]] = []

    def fake(*arguments: str) -> dict[str, float]:
        called.append(arguments)
        return {"milliseconds": float(len(called)), "peak_mb": 5.0}

    monkeypatch.setattr(cost, "run_fresh", fake)
    return called


@linux
def test_real_measurement(tmp_path: Path) -> None:
    """It takes at least the memory of its scores; the image is found in the data root."""
    root = write_data(tmp_path / "data")
    small = ["model.width=0.0625", "train.steps=1", "data.crop=[33, 33]", "data.batch_size=2", "data.workers=0"]
    train("camvid/baseline", load_recipe("camvid/baseline", small), Workspace(tmp_path, root))
    folder = Workspace(tmp_path).folder("camvid/baseline")
    first = measure_cost(folder, 0, TASK, root)
    assert first["milliseconds"] > 0 and first["image"] == [40, 56]
    assert 11 * 40 * 56 * 4 / 1e6 < first["peak_mb"] < 50
    assert json.loads((folder / "cost.json").read_text()) == first
    assert {"device", "commit", "torch", "machine"} <= first.keys()


def test_measured_once_for_the_same_weights(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = _fake(monkeypatch)
    assert (
        measure_cost(folder, 2, TASK, None)
        == measure_cost(folder, 2, TASK, None)
        == {"milliseconds": 1.0, "peak_mb": 5.0}
    )
    newer = (folder / "cost.json").stat().st_mtime_ns + 10**9
    os.utime(folder / "model.safetensors", ns=(newer, newer))
    assert measure_cost(folder, 2, TASK, tmp_path)["milliseconds"] == 2.0
    assert called == [
        ("segaware.experiments.cost_process", str(folder), "2", MODULE),
        ("segaware.experiments.cost_process", str(folder), "2", MODULE, str(tmp_path)),
    ]


def test_process_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "run_fresh", lambda *_: "stopped with status -9: out of memory?")
    with pytest.raises(RecipeError, match=r"measuring the cost of .*segaware failed: .*out of memory"):
        measure_cost(folder, 0, TASK, None)
    assert not (folder / "cost.json").exists()


def test_fresh_process_that_fails_says_why() -> None:
    assert run_fresh("no_such_module").endswith("No module named no_such_module")  # type: ignore[union-attr]


@linux
def test_memory_is_counted() -> None:
    before = process_memory("VmRSS")
    held = bytearray(os.urandom(1)) * 200_000_000
    assert 190 < process_memory("VmRSS") - before < 210
    assert process_memory("VmHWM") >= process_memory("VmRSS")
    del held
    assert process_memory("VmHWM") > before + 190


@linux
def test_peak_of_loading_is_forgotten() -> None:
    held = bytearray(os.urandom(1)) * 200_000_000
    del held
    before = cost_process._memory(torch.device("cpu"), peak=False)
    after = cost_process._memory(torch.device("cpu"), peak=True)
    assert before is not None and after is not None and 0 <= after - before < 50
