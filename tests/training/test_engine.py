"""Running a stage: does it learn, keep to its limits, and survive being stopped."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from segaware.data import Sample, Scenes
from segaware.nn import EmbeddingNet, PairLoss
from segaware.training import EmbeddingStage, Optimization, SegmentationStage, find_checkpoint, fit
from segaware.training.optimization import polynomial

SGD = Optimization(torch.optim.SGD, partial(polynomial, power=0.0), 1.0)


class _Gray(Dataset[Sample]):
    """Eight gray images of 4x4 pixels, all of class 0."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        return Sample(torch.full((3, 4, 4), 0.5), torch.zeros(4, 4, dtype=torch.int64), str(index))


def _fit(stage: EmbeddingStage | SegmentationStage, folder: Path, epochs: int = 1, clip: float | None = None) -> None:
    fit(stage, DataLoader(_Gray(), 4), DataLoader(_Gray(), 1), folder, epochs, gradient_clip=clip)


def test_embeddings_learn_scenes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scenes = Scenes(8, (32, 32))
    everything: Sample = next(iter(DataLoader(scenes, 8)))
    optimization = Optimization(torch.optim.AdamW, partial(polynomial, power=0.9), 0.01)
    stage = EmbeddingStage(EmbeddingNet(0.125, 4), PairLoss(), optimization)
    before = stage.loss(Sample(*everything)).item()
    fit(stage, DataLoader(scenes, 4), DataLoader(scenes, 1), tmp_path, epochs=6)
    assert stage.loss(Sample(*everything)).item() < 0.9 * before


class _Doubt(nn.Module):
    """The larger its hardness, the surer it is of the wrong class, so training always pushes its hardness down."""

    def __init__(self) -> None:
        super().__init__()
        self.hardness = nn.Parameter(torch.tensor(0.3))

    def forward(self, image: Tensor) -> Tensor:
        wrong = torch.ones_like(image[:, 0]) * self.hardness
        return torch.stack([-wrong, wrong], 1)


def test_hardness_never_stays_below_0(tmp_path: Path) -> None:
    class Watched(SegmentationStage):
        seen: list[tuple[float, float]] = []  # noqa: RUF012

        def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
            pushed = self.network.hardness.item()
            super().on_train_batch_end(outputs, batch, batch_idx)
            self.seen.append((pushed, self.network.hardness.item()))

    stage = Watched(_Doubt(), 2, SGD)
    _fit(stage, tmp_path, epochs=2)
    assert len(stage.seen) == 4
    assert any(pushed < 0 for pushed, _ in stage.seen)
    assert all(kept == max(pushed, 0) for pushed, kept in stage.seen)


@pytest.mark.parametrize("clip", [None, 0.125])
def test_gradient_clip_limits_a_step(tmp_path: Path, clip: float | None) -> None:
    network = nn.Conv2d(3, 2, 1)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)  # type: ignore[arg-type]
    fit(
        SegmentationStage(network, 2, SGD), DataLoader(_Gray(), 8), DataLoader(_Gray(), 1), tmp_path, 1, "32-true", clip
    )
    # Both classes have probability 1/2, so the gradient is -1/2 and 1/2 for the biases, times 0.5 gray for the weights.
    norm = (2 * 0.5**2 + 6 * 0.25**2) ** 0.5
    step = torch.cat([parameter.flatten() for parameter in network.parameters()]).norm().item()
    assert step == pytest.approx(clip or norm, rel=1e-4)


def test_steps_end_a_training_within_an_epoch(tmp_path: Path) -> None:
    stage = SegmentationStage(_Doubt(), 2, SGD)
    fit(stage, DataLoader(_Gray(), 1), DataLoader(_Gray(), 1), tmp_path, epochs=2, steps=5)
    assert stage.global_step == 5
    assert find_checkpoint(tmp_path) is not None


def test_newest_checkpoint(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    for age, name in enumerate(("b.ckpt", "c.ckpt", "a.ckpt")):
        path = tmp_path / "checkpoints" / name
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "checkpoints" / "newer.txt").touch()
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "b.ckpt"


class _Stopped(SegmentationStage):
    """Ctrl-C arrives in a training step, or in the validation after an epoch."""

    stop_at = -1
    stop_in_validation = False

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        if self.global_step == self.stop_at:
            raise KeyboardInterrupt
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        if self.stop_in_validation:
            raise KeyboardInterrupt
        super().validation_step(batch, batch_idx)


@pytest.mark.parametrize("where", ["first epoch", "second epoch", "validation"])
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(tmp_path: Path, where: str) -> None:
    stage = _Stopped(
        nn.Conv2d(3, 2, 1), 2, Optimization(partial(torch.optim.SGD, momentum=0.9), partial(polynomial, power=0.9), 0.1)
    )
    stage.stop_at = {"first epoch": 1, "second epoch": 3, "validation": -1}[where]
    stage.stop_in_validation = where == "validation"
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        _fit(stage, tmp_path, epochs=3)
    assert signal.getsignal(signal.SIGINT) is handler
    checkpoint = find_checkpoint(tmp_path)
    assert checkpoint is not None

    steps, rates = [], []

    class Resumed(SegmentationStage):
        def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
            if not steps:
                torch.testing.assert_close(self.network.weight, stage.network.weight, rtol=0, atol=0)
            steps.append(self.global_step)
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
            return super().training_step(batch, batch_idx)

    resumed = Resumed(
        nn.Conv2d(3, 2, 1), 2, Optimization(partial(torch.optim.SGD, momentum=0.9), partial(polynomial, power=0.9), 0.1)
    )
    fit(resumed, DataLoader(_Gray(), 4), DataLoader(_Gray(), 1), tmp_path, 3, checkpoint=checkpoint)
    first = {"first epoch": 1, "second epoch": 3, "validation": 2}[where]
    assert steps == list(range(first, 6))  # 3 epochs of 2 batches
    assert rates == pytest.approx([0.1 * (1 - step / 6) ** 0.9 for step in steps])


def test_training_starts_afresh_unless_told_otherwise(tmp_path: Path) -> None:
    for _ in range(2):
        stage = SegmentationStage(nn.Conv2d(3, 2, 1), 2, SGD)
        start = stage.network.weight.detach().clone()
        _fit(stage, tmp_path)
        assert stage.trainer.global_step == 2
        assert not torch.equal(stage.network.weight, start)


def test_nothing_is_said_that_a_user_need_not_know(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    stage = _Stopped(nn.Conv2d(3, 2, 1), 2, SGD)
    stage.stop_at = 1
    with pytest.raises(KeyboardInterrupt):
        _fit(stage, tmp_path)
    stage.stop_at = -1
    fit(stage, DataLoader(_Gray(), 4), DataLoader(_Gray(), 1), tmp_path, 2, checkpoint=find_checkpoint(tmp_path))
    assert [str(warning.message) for warning in recwarn] == []


def test_one_device_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two, batches would be twice as large and steps half as many as a recipe says."""
    monkeypatch.setattr("lightning.pytorch.accelerators.cpu.CPUAccelerator.auto_device_count", lambda: 2)
    stage = SegmentationStage(nn.Conv2d(3, 2, 1), 2, SGD)
    assert fit(stage, DataLoader(_Gray(), 4), DataLoader(_Gray(), 1), tmp_path, 1) == 2
    assert stage.trainer.num_devices == stage.trainer.world_size == 1


@pytest.mark.parametrize("in_terminal", [False, True])
def test_bar_is_for_terminals(
    tmp_path: Path, in_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: in_terminal)
    _fit(SegmentationStage(nn.Conv2d(3, 2, 1), 2, SGD), tmp_path)
    out, err = capsys.readouterr()
    assert ("train/loss" in out) == in_terminal
    assert "v_num" not in out and err == ""


def test_checkpoint_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"PK")
    stage = SegmentationStage(nn.Conv2d(3, 2, 1), 2, SGD)
    with pytest.raises(ValueError, match=r"checkpoint .*last.ckpt cannot be read"):
        fit(stage, DataLoader(_Gray(), 4), DataLoader(_Gray(), 1), tmp_path, 1, checkpoint=path)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
