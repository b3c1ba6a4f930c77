"""Refining many images on a cluster, by Ray Data; Ray is imported when it is asked for."""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import torch

from segaware.extras import import_extra
from segaware.refining.refine_files import Failure, Files, Finish, open_embedding, try_refine_file
from segaware.refining.score_files import FileSettings

_LOCAL = "local"
_BLOCK = 16  # images of an actor at a time: fewer cost Ray's milliseconds more often, more are done anew if it dies
_PATIENCE = 5.0  # seconds in which a cluster must answer
_RETRIES = 3  # of what an actor had when it died

Row: TypeAlias = dict[str, int | bytes]  # Arrow's strings hold no file names that are not Unicode, bytes do


@contextmanager
def ray_data(address: str, workers: int) -> Iterator[ModuleType]:
    """Connect to a cluster, and give the module `ray.data`.

    Args:
        address: That of the cluster, as `ray.init` has it, or "local" for one of this machine that ends with the block.
        workers: CPUs of one that is started.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
        ConnectionError: If no cluster answers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what it warns of is beyond who runs the command
    data = import_extra("ray.data", "--ray needs Ray Data", "ray")
    ray = import_extra("ray", "--ray needs Ray Data", "ray")
    local = {"num_cpus": workers, "include_dashboard": False} if address == _LOCAL else {}
    try:
        host, _, port = address.rpartition("://")[-1].rpartition(":")
        if host and port.isdigit():
            socket.create_connection((host, int(port)), _PATIENCE).close()  # Ray itself tries for minutes
        ray.init(
            address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            # The driver's code, in whatever folder it is installed on a single machine; a cluster has its own.
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}} if local else None,
            **local,
        )
    except (OSError, OverflowError, ValueError) as error:
        raise ConnectionError(f"--ray {address}: cannot connect: {' '.join(str(error).split())}") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # lost actors are told as images that failed
    context = data.DataContext.get_current()
    warnings.filterwarnings("ignore", category=ray.util.annotations.RayDeprecationWarning)  # pyproject.toml has a bound
    context.enable_progress_bars = False  # there is one of images
    context.max_errored_blocks = -1  # what became of these is looked at in the end
    try:
        yield data
    finally:
        ray.shutdown()


def refine_on_ray(data: ModuleType, files: list[Files], how: FileSettings, workers: int, finish: Finish) -> None:
    """Refine files in actors, each of which takes the next few when it has finished some.

    Ray starts a lost actor again and gives what it had to one; what is finished by then is not done again. Images whose
    actors were lost several times are given out one by one, so that the one which ends them takes no other with it.

    Args:
        data: The module `ray.data`, connected.
        files: What to refine; all machines have these files, and the current folder, under these names.
        how: How; `max_memory` is of one actor.
        workers: Actors, of one CPU each.
        finish: Called for each file when it is done.
    """
    left = dict(enumerate(files))
    for block in (min(_BLOCK, max(1, len(files) // (4 * workers))), 1):
        if not left:
            return
        rows = [{"index": index, "files": os.fsencode("\0".join(map(str, file)))} for index, file in left.items()]
        results = data.from_items(rows, override_num_blocks=-(-len(rows) // block)).map(
            _Refiner,
            fn_constructor_args=(how, Path.cwd()),
            concurrency=min(workers, len(rows)),
            num_cpus=1,
            ray_remote_args_fn=lambda: {"max_task_retries": _RETRIES},
        )
        for row in results.iter_rows():
            failure = Failure(os.fsdecode(row["reason"]), row["held"]) if row["reason"] else None
            finish(left.pop(row["index"]), failure)
    for file in left.values():
        finish(file, Failure(f"its actor was lost {_RETRIES + 1} times: out of memory?"))


class _Refiner:
    """An actor, with network and kernels that stay warm."""

    def __init__(self, how: FileSettings, folder: Path) -> None:
        os.chdir(folder)  # of the command, for names that are relative
        torch.set_num_threads(1)
        open_embedding(how.embedding)
        self._how = how

    def __call__(self, row: Row) -> Row:
        """Refine the files of a row; return its index and why that failed."""
        assert isinstance(row["files"], bytes)
        image, scores, out = map(Path, os.fsdecode(row["files"]).split("\0"))
        failure = try_refine_file((image, scores, out), self._how)
        reason, held = failure or ("", False)
        return {"index": row["index"], "reason": os.fsencode(reason), "held": held}
