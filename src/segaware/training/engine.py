"""Running a stage: Lightning's trainer with our loggers, checkpoints and progress bar."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from segaware.training.stages import Stage

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

# Lightning's advice on what is meant to be so here.
_EXPECTED = (
    "does not have many workers|number of training batches|exists and is not empty|dataloader is not resumable|LeafSpec"
)


class _ProgressBar(TQDMProgressBar):
    """One line per epoch; validation, a few images, needs no bar of its own."""

    def init_validation_tqdm(self) -> Tqdm:
        bar = super().init_validation_tqdm()
        bar.disable = True
        return bar


class _InterruptCheckpoint(Callback):
    """Save on Ctrl-C only: going on from a loss that was not finite would end the same way.

    No OnExceptionCheckpoint, because with one Lightning resumes from what it finds even if told to start afresh.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            trainer.save_checkpoint(self.path)


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of an unfinished training in `folder`, if there is one."""
    checkpoints = sorted(folder.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)
    return checkpoints[-1] if checkpoints else None


def _set_aside(metrics: Path) -> None:
    """Rename the log of the training that goes on, which Lightning's CSV logger would delete."""
    if metrics.is_file():
        metrics.rename(metrics.with_name(f"metrics_{len(list(metrics.parent.glob('metrics*.csv')))}.csv"))


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
) -> None:
    """Train a stage; log to CSV and TensorBoard and keep its last checkpoint, all in `folder`.

    An interrupted training (Ctrl-C included) leaves a checkpoint; pass it to go on from there. Its metrics.csv is kept
    as metrics_1.csv, that of the next interruption as metrics_2.csv.

    Args:
        stage: What to train.
        train: Training batches.
        validation: Batches scored after every epoch.
        folder: Where to write.
        epochs: Passes over the training batches, those before the checkpoint included.
        precision: Lightning's name of the precision.
        gradient_clip: Largest gradient norm; None does not clip.
        checkpoint: Checkpoint to resume from.
        steps: End after so many steps, those before the checkpoint included, if the epochs do not end before.

    Raises:
        KeyboardInterrupt: If the user stopped the training.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    checkpoints = folder / "checkpoints"
    if checkpoint is not None:
        _set_aside(folder / "logs" / "metrics.csv")
    trainer = Trainer(
        max_epochs=epochs,
        max_steps=-1 if steps is None else steps,
        precision=precision,
        gradient_clip_val=gradient_clip,
        logger=[CSVLogger(folder, name="", version="logs"), TensorBoardLogger(folder, name="", version="logs")],
        callbacks=[
            ModelCheckpoint(checkpoints, filename="last", enable_version_counter=False, save_on_train_epoch_end=True),
            _InterruptCheckpoint(checkpoints / "interrupted.ckpt"),
            _ProgressBar(refresh_rate=5),
        ],
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=f"(?s).*({_EXPECTED})")
            trainer.fit(stage, train, validation, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stop:  # how Lightning ends a training that Ctrl-C has stopped
        raise KeyboardInterrupt from stop
    if trainer.interrupted:
        raise KeyboardInterrupt
