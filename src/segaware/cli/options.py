"""What commands share: arguments, reading the recipe that they name, error messages, and the log."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer

from segaware.choices import Precision
from segaware.cluster.job import reason_of
from segaware.cluster.ray_actors import Cluster
from segaware.constants import ENDING_SIGNALS
from segaware.experiments.workspace import Workspace
from segaware.ranks import rank, world_size
from segaware.recipes.files import choose_data, load_recipe, recipe_folder
from segaware.recipes.schema import Recipe

DataRoot = Annotated[
    Path | None, typer.Option("--data-root", envvar="SEGAWARE_DATA", help="Folder that holds the data sets' folders.")
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder with a folder for every trained recipe.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Changes to the recipe, such as train.epochs=3.")]
RecipeName = Annotated[str, typer.Argument(help="A name from `segaware recipes`, or a YAML file.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
Weights = Annotated[
    Path | None, typer.Option("--checkpoint", help="Weights file; the recipe's own in --runs if not given.")
]
DeviceCount = Annotated[
    str | None,
    typer.Option("--devices", help="How many devices of a machine, or which, as Lightning has it."),
]
Nodes = Annotated[int | None, typer.Option("--nodes", min=1, help="How many machines, each started by a launcher.")]
Strategy = Annotated[str | None, typer.Option("--strategy", help="Lightning's name, such as ddp.")]
Accelerator = Annotated[str, typer.Option("--accelerator", help="Kind of devices in Lightning's names: cpu, gpu.")]
TrainingPrecision = Annotated[
    Precision | None, typer.Option("--precision", help="In the place of train.precision of the recipes.")
]
Ray = Annotated[
    str | None,
    typer.Option("--ray", help="Address of a Ray cluster that has the workers; local starts one on this machine."),
]
RayWorkers = Annotated[int, typer.Option("--workers", min=1, help="Of --ray.")]
Gpus = Annotated[float, typer.Option("--gpus", min=0, help="GPUs of each worker of --ray, which may share one: 0.25.")]

WHOLE = "the files that are written are whole; --overwrite starts again"
_log = logging.getLogger("segaware")
_compiling = logging.getLogger("segaware.ops._kernel_cache")  # its waits of seconds are always explained


def debug(
    context: typer.Context,
    wanted: Annotated[
        bool,
        typer.Option("--debug", envvar="SEGAWARE_DEBUG", help="Show what is chosen for you, and tracebacks of errors."),
    ] = False,
) -> None:
    """Segmentation-aware convolutional networks: train and score them, and sharpen what other networks predict."""
    context.with_resource(_shown_log(logging.DEBUG if wanted else logging.WARNING))


@contextmanager
def _shown_log(least: int) -> Iterator[None]:
    """Write the log of segaware, which is silent in a library, to stderr, from a level on."""
    handler, levels = logging.StreamHandler(), (_log.level, _compiling.level)
    handler.setFormatter(logging.Formatter("%(levelname)s %(module)s: %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(least)
    _compiling.setLevel(min(least, logging.INFO))
    try:
        yield
    finally:
        _log.removeHandler(handler)
        for log, level in zip((_log, _compiling), levels, strict=True):
            log.setLevel(level)


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGUSR1, which end all work as Ctrl-C does: checkpoints are written, temporary files are removed."""


@contextmanager
def errors(interrupted: str = "the same command goes on from the last checkpoint") -> Iterator[None]:
    """Turn what a user can mend into one line and exit status 1; with --debug the traceback comes before it.

    Args:
        interrupted: What to say after Ctrl-C, SIGTERM and SIGUSR1, whose exit statuses are 130, 143 and 138.
    """
    received: list[int] = []
    try:
        with _terminable(received):
            yield
    except KeyboardInterrupt:  # Lightning raises another one than that of the signal
        if rank() > 0:
            raise typer.Exit(0) from None  # the first one has the status, and no launcher may take this for a failure
        print(f"segaware: {'terminated' if received else 'interrupted'}; {interrupted}", file=sys.stderr)
        raise typer.Exit(128 + (received or [signal.SIGINT])[0]) from None
    except (typer.Exit, typer.Abort):  # which are RuntimeErrors
        raise
    except (ArithmeticError, EOFError, MemoryError, ModuleNotFoundError, OSError, RuntimeError, ValueError) as error:
        _log.debug("the traceback of the error below", exc_info=True)
        if not _is_known_to_the_first():
            print(f"segaware, rank {rank()}:" if rank() > 0 else "segaware:", _told(error), file=sys.stderr)
        raise typer.Exit(1) from None


def _is_known_to_the_first() -> bool:
    """Wait, where this is not the first process, whether that ends; then it has told of the same, or this follows."""
    parent = os.getppid()
    for _ in range(100 if rank() > 0 else 0):
        if os.getppid() != parent:
            return True
        time.sleep(0.1)
    return False


@contextmanager
def _terminable(received: list[int]) -> Iterator[None]:
    """Raise an exception when SIGTERM or SIGUSR1 comes, and note it."""

    def stop(number: int, _: object) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)  # a second one shall not break off what the first one ends
        received.append(number)
        raise _Terminated

    is_main = threading.current_thread() is threading.main_thread()  # no other thread is told of signals
    numbers = [number for number in ENDING_SIGNALS if number != signal.SIGINT] if is_main else []
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _told(error: Exception) -> str:
    """Return an error as one line; some libraries' messages have many."""
    text = reason_of(error)
    if isinstance(error, torch.OutOfMemoryError):
        first = ". ".join(text.split(". ")[:2]).rstrip(".")  # the rest is advice for programmers
        return f"{first}. {_LESS}, or CUDA_VISIBLE_DEVICES= for the CPU"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return f"out of memory ({text}). {_LESS}"
    if isinstance(error, EOFError):
        return f"a file ends too early, or there is no input ({text}); SEGAWARE_DEBUG=1 shows where"
    if world_size() > 1 and re.search("(closed|reset) by peer|remote process exited", text):
        return "another of the processes has ended; the same command goes on from the last checkpoint"
    if isinstance(error, RuntimeError):  # no user's mistake is one, so this helps to report it
        return f"{type(error).__name__}: {text}; SEGAWARE_DEBUG=1 shows where"
    return text


_LESS = "What needs less: a smaller data.batch_size or data.crop in training, smaller images otherwise"


def read_recipe(
    recipe: str, overrides: Sequence[str] | None, runs: Path, data_root: Path | None = None
) -> tuple[Recipe, Workspace]:
    """Return a recipe, and the workspace of its data set: that of its table which `data=` has chosen."""
    data, others = choose_data(recipe_folder(recipe), overrides or ())
    return load_recipe(recipe, others, data), Workspace(runs, data_root).below(data)


def cluster_of(ray: str | None, workers: int, gpus: float) -> Cluster | None:
    """Return the cluster that options name.

    Raises:
        ValueError: If there are GPUs of none.
    """
    if ray is None and gpus:
        raise ValueError(f"--gpus {gpus:g}: is for the workers of --ray")
    return None if ray is None else Cluster(ray, workers, gpus)


def only_cluster_of(ray: str | None, workers: int, gpus: float) -> Cluster | None:
    """Return the cluster that options of a command name that has workers there alone.

    Raises:
        ValueError: If there are several workers, or GPUs, of none.
    """
    if ray is None and workers > 1:
        raise ValueError(f"--workers {workers}: is for --ray; --ray local is this machine")
    return cluster_of(ray, workers, gpus)


def device_of(cluster: Cluster | None) -> str:
    """Return where the actors of a cluster compute, or this command without one."""
    return "cuda" if cluster is not None and cluster.gpus else "cpu"


def with_precision(overrides: Sequence[str] | None, precision: Precision | None) -> list[str]:
    """Return the changes to recipes, with the precision of the training among them if it is given."""
    return [*(overrides or ()), *([] if precision is None else [f"train.precision={precision}"])]
