"""A training that is stopped anywhere and started again ends as one that was never stopped, bit for bit."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from segaware.data import Sample
from segaware.experiments.run import train
from segaware.experiments.workspace import Workspace
from segaware.locking import LockedError, locked
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe
from segaware.training import SegmentationStage, engine, find_checkpoint, load_weights

from .tiny_recipes import STEPS, tiny

EPOCHS = 3


class Terminated(BaseException):
    """What a handler of SIGTERM or SIGUSR1 may raise."""


@pytest.fixture(autouse=True)
def _terminated() -> Iterator[None]:
    def handle(*_: Any) -> None:
        raise Terminated

    # Shells start background jobs with SIGINT ignored.
    handlers = {signal.SIGTERM: handle, signal.SIGUSR1: handle, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Everything that is random: crops, flips, colours, dropout, the order."""
    values = ["model.dropout=0.5", "data.jitter=0.3", "data.flip=0.5", "data.scale=[1.0, 1.5]"]
    return tiny("demo/baseline", f"train.epochs={EPOCHS}", *values)


class Diary:
    """Every batch that a training step sees, and a signal at one of several places."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: dict[int, Tensor] = {}
        self.again: list[int] = []
        self.stop: tuple[str, int] | None = None
        self.number = signal.SIGINT
        step, validate, save = (
            SegmentationStage.training_step,
            SegmentationStage.validation_step,
            Trainer.save_checkpoint,
        )

        def training_step(stage: SegmentationStage, batch: Sample, batch_idx: int) -> Tensor:
            if stage.global_step in self.batches:
                self.again.append(stage.global_step)
            self.batches[stage.global_step] = Sample(*batch).image.clone()
            self._at("step", stage.global_step)
            return step(stage, batch, batch_idx)

        def validation_step(stage: SegmentationStage, batch: Sample, batch_idx: int) -> None:
            self._at("validation", stage.global_step)
            validate(stage, batch, batch_idx)

        def save_checkpoint(trainer: Trainer, *arguments: Any) -> None:
            self._at("saving", trainer.global_step)
            save(trainer, *arguments)

        monkeypatch.setattr(SegmentationStage, "training_step", training_step)
        monkeypatch.setattr(SegmentationStage, "validation_step", validation_step)
        monkeypatch.setattr(Trainer, "save_checkpoint", save_checkpoint)

    def _at(self, place: str, step: int) -> None:
        if self.stop == (place, step):
            self.stop = None
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
    """The weights of the training without a stop, and its batches."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        diary = Diary(monkeypatch)
        weights, _ = load_weights(train("demo/baseline", recipe, Workspace(tmp_path_factory.mktemp("whole"))))
    return weights, diary.batches


def _same(first: dict[Any, Tensor], second: dict[Any, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


PLACES = [
    *[("step", step) for step in (0, 1, STEPS - 1, STEPS, STEPS + 2, EPOCHS * STEPS - 1)],
    *[(place, epoch * STEPS) for place in ("validation", "saving") for epoch in (1, 2, 3)],
]
STOPS = [
    *[(place, signal.SIGINT) for place in PLACES],
    *[(place, n) for n in (signal.SIGTERM, signal.SIGUSR1) for place in (("step", 1), ("validation", STEPS))],
]


@pytest.mark.parametrize(("place", "number"), STOPS)
def test_a_stop_changes_nothing(
    recipe: Recipe,
    whole: tuple[dict[str, Tensor], dict[int, Tensor]],
    place: tuple[str, int],
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    diary = Diary(monkeypatch)
    diary.stop, diary.number = place, number
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Terminated):
        train("demo/baseline", recipe, Workspace(tmp_path))
    assert not (tmp_path / "demo/baseline/model.safetensors").exists()
    weights, description = load_weights(train("demo/baseline", recipe, Workspace(tmp_path)))
    assert description["steps"] == EPOCHS * STEPS
    assert diary.again == []
    assert _same(diary.batches, whole[1])
    assert _same(weights, whole[0])


def test_a_stop_after_every_step(
    recipe: Recipe, whole: tuple[dict[str, Tensor], dict[int, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = Diary(monkeypatch)
    for step in range(EPOCHS * STEPS):
        diary.stop = "step", step
        with pytest.raises(KeyboardInterrupt):
            train("demo/baseline", recipe, Workspace(tmp_path))
    weights, _ = load_weights(train("demo/baseline", recipe, Workspace(tmp_path)))
    assert diary.again == [] and _same(diary.batches, whole[1]) and _same(weights, whole[0])


def test_checkpoints_within_an_epoch(
    recipe: Recipe, whole: tuple[dict[str, Tensor], dict[int, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are what a training goes on from that nothing has warned."""
    monkeypatch.setattr(engine, "SAVED_EVERY", 0.0)
    diary = Diary(monkeypatch)
    step = SegmentationStage.training_step

    def fail(stage: SegmentationStage, batch: Sample, batch_idx: int) -> Tensor:
        if stage.global_step == STEPS + 2:
            raise OSError("the disk is gone")
        return step(stage, batch, batch_idx)

    with pytest.MonkeyPatch.context() as failing, pytest.raises(OSError, match="disk is gone"):
        failing.setattr(SegmentationStage, "training_step", fail)
        train("demo/baseline", recipe, Workspace(tmp_path))
    weights, _ = load_weights(train("demo/baseline", recipe, Workspace(tmp_path)))
    assert diary.again == [] and _same(diary.batches, whole[1]) and _same(weights, whole[0])


def test_workers_see_the_same(whole: tuple[dict[str, Tensor], dict[int, Tensor]], tmp_path: Path) -> None:
    values = ["model.dropout=0.5", "data.jitter=0.3", "data.flip=0.5", "data.scale=[1.0, 1.5]", "data.workers=2"]
    recipe = tiny("demo/baseline", f"train.epochs={EPOCHS}", *values)
    weights, _ = load_weights(train("demo/baseline", recipe, Workspace(tmp_path)))
    assert _same(weights, whole[0])


def test_epochs_differ(whole: tuple[dict[str, Tensor], dict[int, Tensor]]) -> None:
    batches = whole[1]
    assert not any(torch.equal(batches[step], batches[step + STEPS]) for step in range(2 * STEPS))


DAMAGES = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "text": lambda content: b"nothing of the kind\n",
    "foreign": None,
    "another network's": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("other", [False, True])
def test_damaged_checkpoint_is_left_out(
    recipe: Recipe,
    whole: tuple[dict[str, Tensor], dict[int, Tensor]],
    damage: str,
    other: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The one before it counts, and without one the training starts again."""
    diary = Diary(monkeypatch)
    diary.stop = "validation", 2 * STEPS
    with pytest.raises(KeyboardInterrupt):
        train("demo/baseline", recipe, Workspace(tmp_path))
    path = tmp_path / "demo/baseline/checkpoints/last.ckpt"
    if other:
        diary.stop = "step", 2 * STEPS
        with pytest.raises(KeyboardInterrupt):
            train("demo/baseline", recipe, Workspace(tmp_path))
        path = find_checkpoint(tmp_path / "demo/baseline")  # type: ignore[assignment]
        assert path.name == "interrupted.ckpt"
    content = path.read_bytes()
    if damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    elif damage == "another network's":
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["state_dict"]["network.fc8.weight"] = torch.zeros(3)
        torch.save(checkpoint, path)
    else:
        path.write_bytes(DAMAGES[damage](content))  # type: ignore[misc]
    weights, description = load_weights(train("demo/baseline", recipe, Workspace(tmp_path)))
    assert description["steps"] == EPOCHS * STEPS and _same(weights, whole[0])
    assert f"left out: checkpoint {path}" in caplog.text
    assert ("starts from its beginning" in caplog.text) != other
    assert sorted(set(diary.again)) == ([2 * STEPS] if other else list(range(2 * STEPS)))


def test_checkpoint_is_written_beside_its_place(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the folder of temporary files, from where it would be copied, and may be cut off."""
    written = []
    original = torch.save

    def save(values: Any, file: Any, *arguments: Any) -> None:
        written.append(Path(file))
        if len(written) == 2:  # cut off
            Path(file).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        original(values, file, *arguments)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="No space left"):
        train("demo/baseline", recipe, Workspace(tmp_path))
    folder = tmp_path / "demo/baseline/checkpoints"
    assert {path.parent for path in written} == {folder}
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == STEPS


def test_one_training_a_folder(recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "demo/baseline"
    folder.mkdir(parents=True)
    for overwrite in (False, True):
        with (
            locked(folder / ".lock", "it"),
            pytest.raises(LockedError, match=f"the run .*demo/baseline is being written by process {os.getpid()}"),
        ):
            train("demo/baseline", recipe, Workspace(tmp_path), overwrite)
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["logs/metrics.csv", "logs/events.out.tfevents.1", "scores.npz", "checkpoints/last.ckpt", "cost.json"]
)
def test_files_of_others_are_left_alone(runs: Path, name: str, tmp_path: Path) -> None:
    for file in (name, "logs/notes.log", "checkpoints/best.ckpt", "scores.csv"):
        (tmp_path / "demo/baseline" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "demo/baseline" / file).write_text("somebody's")
    with pytest.raises(RecipeError, match=rf"demo/baseline holds {name} but no recipe.yaml, .* --overwrite"):
        train("demo/baseline", tiny("demo/baseline"), Workspace(tmp_path))
    train("demo/baseline", tiny("demo/baseline"), Workspace(tmp_path), overwrite=True)
    for file in ("logs/notes.log", "checkpoints/best.ckpt", "scores.csv"):
        assert (tmp_path / "demo/baseline" / file).read_text() == "somebody's"


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "a: [", "\0", "just words"])
def test_damaged_recipe_of_a_run(runs: Path, text: str, tmp_path: Path) -> None:
    """Nothing is touched; --overwrite starts afresh."""
    folder = shutil.copytree(runs / "demo/baseline", tmp_path / "demo/baseline")
    (folder / "recipe.yaml").write_text(text)
    (folder / "model.safetensors").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RecipeError, match=r"recipe\.yaml .* pass --overwrite"):
        train("demo/baseline", tiny("demo/baseline"), Workspace(tmp_path))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    train("demo/baseline", tiny("demo/baseline"), Workspace(tmp_path), overwrite=True)
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("content", [b"", b"cut off"])
def test_damaged_weights_are_not_a_finished_training(runs: Path, content: bytes, tmp_path: Path) -> None:
    folder = shutil.copytree(runs / "demo/baseline", tmp_path / "demo/baseline")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        train("demo/baseline", tiny("demo/baseline"), Workspace(tmp_path))
