"""On which devices and machines to train, in Lightning's words, and the processes for that."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from segaware import ranks
from segaware.devices import default_device, using_device


@dataclass(frozen=True)
class Devices:
    """What to train on, as Lightning's `Trainer` takes it. One process has one device.

    Attributes:
        devices: How many on each machine, such as "2", or which, such as "0,3"; None is what torchrun or SLURM has
            started processes for, and 1 elsewhere.
        nodes: How many machines; None likewise.
        strategy: How processes train together; None is data parallel, where a parameter may be without a gradient.
        accelerator: Kind of the devices, such as "cpu" or "gpu"; "auto" is the best that is there.

    Example:
        >>> from segaware.training import Devices
        >>> Devices("2", accelerator="cpu").options()["devices"]
        '2'
    """

    devices: str | None = None
    nodes: int | None = None
    strategy: str | None = None
    accelerator: str = "auto"

    def options(self) -> dict[str, Any]:
        """Return the arguments of Lightning's `Trainer` and `Fabric`."""
        count, machines = _started()
        devices, nodes = self.devices or str(count), self.nodes or machines
        strategy = self.strategy or ("auto" if (devices, nodes) == ("1", 1) else "ddp_find_unused_parameters_true")
        return {"devices": devices, "num_nodes": nodes, "strategy": strategy, "accelerator": self.accelerator}


def _started() -> tuple[int, int]:
    """Return for how many devices a machine, and how many machines, processes have been started."""
    if TorchElasticEnvironment.detect():
        return int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    if SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", 1))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return 1, 1


ONE_DEVICE = Devices("1", 1)
"""One process, whatever a launcher has started."""


def check_together(stage: nn.Module) -> None:
    """Raise ValueError if the processes cannot train a stage as one would.

    Args:
        stage: The stage, in training mode.
    """
    trained = [name for name, module in stage.named_modules() if isinstance(module, _BatchNorm) and module.training]
    if trained and ranks.world_size() > 1 and default_device().type == "cpu":
        raise ValueError(
            f"devices: batch normalisation ({trained[0]}) over the samples of {ranks.world_size()} processes "
            "(SyncBatchNorm) is only there on GPUs; train with one process, or with model.batch_norm=false"
        )


def described() -> str:
    """Return how many devices there are, and of which kind, such as "2 x cpu"."""
    device = default_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{ranks.world_size()} x {name}"


@contextmanager
def launched(devices: Devices) -> Iterator[None]:
    """Run a `with` block in a process for every device, together; only the first one shows what it does.

    Where no launcher has started the others, they are started here and run the same command from its beginning.

    Args:
        devices: The devices.

    Raises:
        ValueError: If there are no such devices, or they are not those of the launcher.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        fabric = Fabric(**devices.options())
        launcher = fabric.strategy.launcher
        if launcher is not None:
            fabric.launch()
            ranks.connect()
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise ValueError(f"devices: {error}") from error
    with using_device(None if devices.accelerator == "auto" else fabric.device):
        if ranks.rank() == 0:
            logging.getLogger("segaware").info("processes: %d, the first on %s", ranks.world_size(), fabric.device)
            yield
            for process in getattr(launcher, "procs", ()):
                process.wait()
            return
        logging.getLogger("segaware").setLevel(logging.ERROR)
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
