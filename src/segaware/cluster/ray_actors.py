"""Jobs on a cluster, by Ray Data; Ray is imported when it is asked for."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import torch

from segaware.cluster.job import Failure, Job, reason_of
from segaware.extras import import_extra

_LOCAL = "local"
_BLOCK = 16  # files of an actor at a time: fewer cost Ray's milliseconds more often, more are done anew if it dies
_PATIENCE = 5.0  # seconds in which a cluster must answer
_RETRIES = 3  # of what an actor had when it died

Row: TypeAlias = dict[str, int | bytes]


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what to take of it.

    Attributes:
        address: As `ray.init` has it, or "local" for a cluster on this machine that ends with the command.
        workers: Actors, of one CPU each.
        gpus: GPUs of each, which may be a part of one; 0 for none.
    """

    address: str
    workers: int
    gpus: float = 0


@contextmanager
def connected(cluster: Cluster) -> Iterator[ModuleType]:
    """Connect to a cluster, and give the module `ray.data`.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
        ConnectionError: If no cluster answers, or it is lost.
    """
    address = cluster.address
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what it warns of is beyond who runs the command
    data = import_extra("ray.data", "--ray needs Ray Data", "ray")
    ray = import_extra("ray", "--ray needs Ray Data", "ray")
    local = {"num_cpus": cluster.workers, "include_dashboard": False} if address == _LOCAL else {}
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
        raise ConnectionError(f"--ray {address}: cannot connect: {reason_of(error)}") from error
    try:
        if cluster.gpus > ray.cluster_resources().get("GPU", 0):  # Ray would wait for one for ever
            raise ValueError(f"--gpus {cluster.gpus:g}: the cluster of --ray {address} has no such GPU")
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # lost actors are told as what failed
        context = data.DataContext.get_current()
        warnings.filterwarnings(
            "ignore", category=ray.util.annotations.RayDeprecationWarning
        )  # pyproject.toml: a bound
        context.enable_progress_bars = False  # there is one of ours
        context.max_errored_blocks = -1  # what became of these is looked at in the end
        yield data
    except ray.exceptions.RayError as error:
        raise ConnectionError(f"--ray {address}: {reason_of(error)}") from error
    finally:
        ray.shutdown()


def run_on_ray(
    data: ModuleType, items: Sequence[Any], job: Job, cluster: Cluster, block: int = _BLOCK
) -> Iterator[tuple[Any, Any]]:
    """Do a job for many things in actors, each of which takes the next few when it has finished some.

    Ray starts a lost actor again and gives what it had to one. What was lost several times is given out one by one, so
    that the thing which ends its actors takes no other with it.

    Args:
        data: The module `ray.data`, `connected`.
        items: The things, which can be pickled; relative names in them are of the current folder, if all machines have
            it.
        job: What is done to each.
        cluster: How many actors, and of what.
        block: How many things an actor has at a time, at most.

    Yields:
        A thing and what the job returned for it, as soon as it is done; or a `Failure` if its actors were lost.

    Raises:
        OSError: If an actor cannot begin, or a job raises an error: it is not the thing's.
    """
    left = dict(enumerate(items))
    for size in (min(block, max(1, len(items) // (4 * cluster.workers))), 1):
        if not left:
            return
        rows = [{"index": index, "item": pickle.dumps(item)} for index, item in left.items()]
        results = data.from_items(rows, override_num_blocks=-(-len(rows) // size)).map(
            _Actor,
            fn_constructor_args=(job, Path.cwd()),
            concurrency=min(cluster.workers, len(rows)),
            num_cpus=1,
            num_gpus=cluster.gpus or None,
            ray_remote_args_fn=lambda: {"max_task_retries": _RETRIES},
        )
        for row in results.iter_rows():
            if row["error"]:
                raise OSError(os.fsdecode(row["error"]))
            yield left.pop(row["index"]), pickle.loads(row["result"])
    for item in left.values():
        yield item, Failure(f"its actor was lost {_RETRIES + 1} times: out of memory?")


class _Actor:
    """Does a job, with what is slow to load staying loaded.

    Its errors become rows: of an actor that raises one Ray says no more than of one that was lost.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        with suppress(OSError):  # not there on this machine, which URLs do not need
            os.chdir(folder)
        torch.set_num_threads(1)
        self._job, self._error = job, b""
        try:
            job.open()
        except Exception as error:
            self._error = _told(error)

    def __call__(self, row: Row) -> Row:
        """Do the job for the thing in a row; return its index, and the result or the error."""
        assert isinstance(row["item"], bytes)
        result, error = b"", self._error
        if not error:
            try:
                result = pickle.dumps(self._job(pickle.loads(row["item"])))
            except Exception as raised:
                error = _told(raised)
        return {"index": row["index"], "result": result, "error": error}


def _told(error: Exception) -> bytes:
    """Return an error and where it was, as bytes: Arrow's strings hold no file names that are not Unicode."""
    return os.fsencode(f"an actor on {socket.gethostname()} cannot work: {type(error).__name__}: {reason_of(error)}")
