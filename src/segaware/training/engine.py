"""Running a stage: Lightning's trainer with our loggers, checkpoints and progress bar."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from segaware import ranks
from segaware.choices import Precision
from segaware.constants import ENDING_SIGNALS
from segaware.nn import clamp_hardness
from segaware.training.batches import EpochSampler, derived_seed
from segaware.training.checkpoints import CheckpointFiles, checkpoint_steps
from segaware.training.devices import ONE_DEVICE, Devices
from segaware.training.stages import Stage

# Lightning's advice on what is meant to be so here.
_EXPECTED = (
    "does not have many workers|number of training batches|exists and is not empty|dataloader is not resumable|LeafSpec"
    r"|Found \d+ module\(s\) in eval mode"
)


SAVED_EVERY = 600.0  # seconds after which a checkpoint is written within an epoch


class _ProgressBar(TQDMProgressBar):
    """One line per training in a terminal, and none in a log; validation, a few images, needs no bar of its own."""

    def init_validation_tqdm(self) -> Tqdm:
        bar = super().init_validation_tqdm()
        bar.disable = True
        return bar

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)  # the name of the folder of logs, which is always the same
        return metrics


class _Stopped(BaseException):
    """A signal has asked for an end, and nothing is half done."""


class _Steps(Callback):
    """What is done at every step: fix its random numbers, and save where the training may have to go on.

    Args:
        folder: Where to save.
        seed: Seed of the training.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.signal: int | None = None
        self.handled: list[signal.Signals] = []
        self.saved = time.monotonic()

    def remember(self, number: int, _: Any) -> None:
        """Handle a signal: it waits for the end of the step; a second Ctrl-C does not."""
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in self.handled:  # Lightning's, which are in their place by now, talk to other processes at once
            signal.signal(number, self.remember)
        if isinstance(trainer.model, DistributedDataParallel):
            # Buffers are the same everywhere; copying them would make processes wait for each other in validation,
            # where one may have an image less.
            trainer.model.require_forward_param_sync = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(derived_seed("step", self.seed, trainer.global_step))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Stage, *_: Any) -> None:  # type: ignore[override]
        stopped, is_due = self.agreed(time.monotonic() > self.saved + SAVED_EVERY)
        # Before the validation, so that an interruption there loses no step.
        is_at_end = trainer.is_last_batch or trainer.global_step == trainer.max_steps
        if stopped or is_due or is_at_end:
            self._save(trainer, pl_module, "last.ckpt" if is_at_end and not stopped else "interrupted.ckpt")
        if stopped:
            raise _Stopped

    def on_validation_batch_end(self, *_: Any) -> None:
        if self.signal is not None and ranks.world_size() == 1:
            raise _Stopped

    def on_validation_end(self, *_: Any) -> None:
        if self.agreed()[0]:  # several processes stop together, and some may have had an image less
            raise _Stopped

    def on_exception(self, trainer: Trainer, pl_module: Stage, exception: BaseException) -> None:  # type: ignore[override]
        # Raised by a stage itself. Between two steps only: elsewhere last.ckpt has all steps, or one is half done.
        # Other errors would come again. Several processes cannot save unless all do.
        steps = trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
        is_between_steps = trainer.training and 0 < trainer.global_step == steps
        if isinstance(exception, KeyboardInterrupt) and is_between_steps and ranks.world_size() == 1:
            self._save(trainer, pl_module, "interrupted.ckpt")

    def agreed(self, is_due: bool = False) -> tuple[bool, bool]:
        """Return whether a signal has come, and it is time to save, in any of the processes."""
        number, due = ranks.most(self.signal or 0, is_due)
        self.signal = number or self.signal  # which may have come this moment
        return bool(number), bool(due)

    def _save(self, trainer: Trainer, stage: Stage, name: str) -> None:
        clamp_hardness(stage.network)  # the stage does so at the end of a step, but after its callbacks
        trainer.save_checkpoint(self.folder / name)
        self.saved = time.monotonic()


@contextmanager
def _signals_between_steps(steps: _Steps) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGUSR1, SLURM's warning, wait for the end of a step. They are sent again in the end.

    An interruption in the middle of a step would leave some of the weights changed, and some not.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        yield
        return
    steps.handled = [number for number in ENDING_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, steps.remember) for number in steps.handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if steps.signal is not None:
            signal.raise_signal(steps.signal)


def _set_aside(metrics: Path) -> None:
    """Rename the log of the training that goes on, which Lightning's CSV logger would delete."""
    if metrics.is_file():
        metrics.rename(metrics.with_name(f"metrics_{len(list(metrics.parent.glob('metrics*.csv')))}.csv"))


def seed_everything(seed: int) -> None:
    """Seed the random numbers of Python, NumPy and PyTorch, in the processes that load data too.

    Args:
        seed: The seed, 0 to 2^32 - 1.
    """
    lightning.pytorch.seed_everything(seed, workers=True, verbose=False)


def fit(
    stage: Stage,
    train: DataLoader[Any],
    validation: DataLoader[Any],
    folder: Path,
    epochs: int,
    precision: Precision = "32-true",
    gradient_clip: float | None = None,
    checkpoint: Path | None = None,
    steps: int | None = None,
    seed: int = 0,
    devices: Devices = ONE_DEVICE,
) -> int:
    """Train a stage; log to CSV and TensorBoard and keep its last checkpoint, all in `folder`.

    An interrupted training (Ctrl-C and SIGTERM included) leaves a checkpoint; pass it to go on from there. Its
    metrics.csv is kept as metrics_1.csv, that of the next interruption as metrics_2.csv. An epoch whose validation was
    interrupted is not validated again.

    Args:
        stage: What to train.
        train: Training batches; with those of `shuffled_batches`, a resumed training sees what it would have seen.
        validation: Batches scored after every epoch.
        folder: Where to write.
        epochs: Passes over the training batches, those before the checkpoint included.
        precision: Lightning's name of the precision.
        gradient_clip: Largest gradient norm; None does not clip.
        checkpoint: Checkpoint to resume from.
        steps: End after so many steps, those before the checkpoint included, if the epochs do not end before.
        seed: Of the random numbers of a step (dropout, noise), which are a function of it and the step's number.
        devices: What to train on; several processes must have been `launched`, with their share of the batches each.

    Returns:
        The number of steps that the training has taken, those before the checkpoint included.

    Raises:
        KeyboardInterrupt: If the user stopped the training.
        ValueError: If the checkpoint cannot be used, or several processes cannot train together as one does.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if checkpoint is not None:
        done = checkpoint_steps(checkpoint, stage)
        if isinstance(train.sampler, EpochSampler):
            epoch, step = divmod(done, len(train))
            train.sampler.skip(epoch, step)
        ranks.once(lambda: _set_aside(folder / "logs" / "metrics.csv"))
    each_step = _Steps(folder / "checkpoints", seed)
    in_terminal = sys.stdout.isatty()
    trainer = Trainer(
        **devices.options(),
        max_epochs=epochs,
        max_steps=-1 if steps is None else steps,
        precision=precision,
        gradient_clip_val=gradient_clip,
        logger=[CSVLogger(folder, name="", version="logs"), TensorBoardLogger(folder, name="", version="logs")],
        callbacks=[each_step, *([_ProgressBar(refresh_rate=5)] if in_terminal else [])],
        plugins=[CheckpointFiles(len(train))],
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # it would repeat samples of the validation
        sync_batchnorm=ranks.world_size() > 1,
        enable_checkpointing=False,  # by Lightning's own callback
        enable_model_summary=False,
        enable_progress_bar=in_terminal,
    )
    try:
        with warnings.catch_warnings(), _signals_between_steps(each_step):
            warnings.filterwarnings("ignore", message=f"(?s).*({_EXPECTED})")
            trainer.fit(stage, train, validation, ckpt_path=checkpoint, weights_only=True)
            each_step.agreed()  # all are told of a signal that has come to one
    except (SystemExit, _Stopped) as stop:  # the first is how Lightning ends a training that Ctrl-C has stopped
        raise KeyboardInterrupt from stop
    if trainer.interrupted:
        raise KeyboardInterrupt
    return trainer.global_step
