"""Checkpoints: written atomically, and validated before a training resumes from them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import nn

from segaware.atomic import replaced

_LOGGER = logging.getLogger(__name__)


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of an unfinished training in `folder`, if there is one."""
    checkpoints = sorted(folder.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)
    return checkpoints[-1] if checkpoints else None


def usable_checkpoint(folder: Path, stage: nn.Module) -> Path | None:
    """Return the checkpoint with most steps, of those in `folder` that can be read and are of this stage's network.

    The others are left out with a warning in the log, and so is a training that has none left.

    Args:
        folder: That of the run.
        stage: The stage whose network is to go on.
    """
    steps, problems = {}, 0
    for path in sorted(folder.glob("checkpoints/*.ckpt")):
        try:
            steps[path] = checkpoint_steps(path, stage)
        except ValueError as error:
            problems += 1
            _LOGGER.warning("left out: %s", error)
    if not steps and problems:
        _LOGGER.warning("%s: no checkpoint can be used, so the training starts from its beginning", folder)
    return max(steps, key=lambda path: steps[path]) if steps else None


def checkpoint_steps(path: Path, stage: nn.Module) -> int:
    """Return how many steps a checkpoint of a stage has.

    Raises:
        ValueError: If it cannot be read, is no checkpoint of a training, or is of another network.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, and with pages of advice
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"checkpoint {path} cannot be read ({reason})") from error
    parts = {"state_dict": dict, "global_step": int, "loops": dict, "optimizer_states": list, "lr_schedulers": list}
    if not isinstance(checkpoint, dict) or any(not isinstance(checkpoint.get(k), kind) for k, kind in parts.items()):
        raise ValueError(f"checkpoint {path} is not one of a training")
    theirs, ours = (
        {name: getattr(tensor, "shape", None) for name, tensor in tensors.items()}
        for tensors in (checkpoint["state_dict"], stage.state_dict())
    )
    if theirs != ours:
        different = sorted(map(str, theirs.items() ^ ours.items()))
        raise ValueError(f"checkpoint {path} is of another network: they differ in {different[0]}")
    return int(checkpoint["global_step"])


class CheckpointFiles(TorchCheckpointIO):
    """How Lightning writes and reads checkpoints.

    It would write into the system's folder of temporary files and move from there, which from one file system to
    another is copying, and can be cut off.

    Args:
        epoch_steps: Number of steps of an epoch.
    """

    def __init__(self, epoch_steps: int) -> None:
        self.epoch_steps = epoch_steps

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint beside its place, and move it there."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint, to go on after exactly the steps that it has."""
        checkpoint = super().load_checkpoint(path, *args, **kwargs)
        checkpoint["loops"]["fit_loop"] |= _progress(checkpoint["global_step"], self.epoch_steps)
        return checkpoint


def _progress(steps: int, epoch_steps: int) -> dict[str, Any]:
    """Return the progress of Lightning's loops after a number of steps, at least 1.

    Lightning keeps what it was doing when it saved, and goes on differently from each such state: from some, after an
    interruption in validation or while saving, it leaves out an epoch or repeats a step. Here it is always one of two:
    at the end of a training step, or at the end of an epoch whose validation is over.
    """
    epoch, step = divmod(steps, epoch_steps)
    at_end = step == 0
    epochs = epoch if at_end else epoch + 1
    done = {"ready": epochs, "started": epochs, "processed": epoch, "completed": epoch - 1 if at_end else epoch}
    batches = {
        part: {"ready": count, "started": count, "processed": count, "completed": count if at_end else count - 1}
        for part, count in (("total", steps), ("current", epoch_steps if at_end else step))
    }
    counted = {part: {key: count["processed"] for key in ("ready", "completed")} for part, count in batches.items()}
    started = {part: {**count, "started": count["completed"]} for part, count in counted.items()}
    nothing = dict.fromkeys(("ready", "started", "processed", "completed"), 0)
    return {
        "epoch_progress": {"total": done, "current": done},
        "epoch_loop.batch_progress": {**batches, "is_last_batch": at_end},
        "epoch_loop.scheduler_progress": counted,
        "epoch_loop.automatic_optimization.optim_progress": {"optimizer": {"step": counted, "zero_grad": started}},
        "epoch_loop.val_loop.batch_progress": {"total": nothing, "current": nothing, "is_last_batch": at_end},
        "epoch_loop.state_dict": {"_batches_that_stepped": steps if at_end else steps - 1},
    }
