"""A training that is interrupted goes on where it stopped."""

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segaware.data import Sample
from segaware.experiments.run import train
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import RecipeError
from segaware.training import SegmentationStage, find_checkpoint, load_weights

from .tiny_recipes import STEPS, tiny

EPOCHS = 3
STOP = STEPS + 2  # in the middle of the second epoch


class Interruption:
    """Presses Ctrl-C before the training steps of the given numbers, and keeps a diary."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *stops: int) -> None:
        self.steps: list[int] = []
        self.weights: list[Tensor] = []
        stops_left = list(stops)
        original = SegmentationStage.training_step

        def step(stage: SegmentationStage, batch: Sample, batch_idx: int) -> Tensor:
            if stops_left and stage.global_step == stops_left[0]:
                stops_left.pop(0)
                self.weights.append(stage.network.fc8.weight.detach().clone())
                raise KeyboardInterrupt
            self.steps.append(stage.global_step)
            self.weights.append(stage.network.fc8.weight.detach().clone())
            return original(stage, batch, batch_idx)

        monkeypatch.setattr(SegmentationStage, "training_step", step)


def test_interrupted_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny("demo/baseline", f"train.epochs={EPOCHS}")
    diary = Interruption(monkeypatch, STOP)
    with pytest.raises(KeyboardInterrupt):
        train("demo/baseline", recipe, Workspace(tmp_path))
    folder = tmp_path / "demo/baseline"
    assert not (folder / "model.safetensors").exists()
    assert find_checkpoint(folder) == folder / "checkpoints/interrupted.ckpt"

    with pytest.raises(RecipeError, match=r"other values than this recipe: train\.epochs \(3 there, 4 here\);"):
        train("demo/baseline", tiny("demo/baseline", "train.epochs=4"), Workspace(tmp_path))
    weights = train("demo/baseline", recipe, Workspace(tmp_path))
    assert diary.steps == list(range(EPOCHS * STEPS))
    assert torch.equal(diary.weights[STOP], diary.weights[STOP + 1])  # left with, and come back with
    _, description = load_weights(weights)
    assert description["steps"] == EPOCHS * STEPS
    assert description["seconds"] is None

    logged = []
    for name in ("metrics_1.csv", "metrics.csv"):
        rows = csv.DictReader((folder / "logs" / name).read_text().splitlines())
        logged += [(name, int(row["epoch"])) for row in rows if row["val/miou"]]
    assert logged == [("metrics_1.csv", 0), ("metrics.csv", 1), ("metrics.csv", 2)]


def test_interrupted_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny("demo/baseline", f"train.epochs={EPOCHS}")
    diary = Interruption(monkeypatch, 1, EPOCHS * STEPS - 1)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train("demo/baseline", recipe, Workspace(tmp_path))
    train("demo/baseline", recipe, Workspace(tmp_path))
    assert diary.steps == list(range(EPOCHS * STEPS))
    assert (tmp_path / "demo/baseline/logs/metrics_1.csv").is_file()


def test_overwrite_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny("demo/baseline")
    diary = Interruption(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train("demo/baseline", recipe, Workspace(tmp_path))
    train("demo/baseline", recipe, Workspace(tmp_path), overwrite=True)
    assert diary.steps == [0, 1, *range(STEPS)]
    assert torch.equal(diary.weights[0], diary.weights[3])


def test_resumed_training_does_not_start_from_other_weights_again(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once begun, a training needs the weights it started from no more."""
    folder = tmp_path / "runs"
    (folder / "demo").mkdir(parents=True)
    (folder / "demo/baseline").symlink_to(runs / "demo/baseline")
    diary = Interruption(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train("demo/control", tiny("demo/control"), Workspace(folder))
    (folder / "demo/baseline").unlink()
    train("demo/control", tiny("demo/control"), Workspace(folder))
    assert diary.steps == list(range(STEPS))
    assert torch.equal(diary.weights[2], diary.weights[3])
