"""Refining many images: one after the other, several at a time in processes, or by actors of a cluster."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from segaware.cluster.failed_list import check_failed_list, write_failed_list
from segaware.cluster.job import Failure
from segaware.cluster.ray_actors import Cluster, connected, run_on_ray
from segaware.refining.refine_files import Files, Finish, RefineJob, open_embedding, try_refine_file
from segaware.refining.score_files import FileSettings

_COLUMNS = ("image", "scores", "error")
_LEAST_MEMORY = 10**9  # of a worker: libraries and network take 0.6 GB, and what is left makes tiles that are not tiny
_PATIENCE = 5.0  # seconds in which a worker can finish what cannot be interrupted, before it is killed

_log = logging.getLogger("segaware")


def refine_folder(
    files: list[Files],
    out: Path,
    how: FileSettings,
    workers: int,
    tell: Callable[[Files, str | None], None],
    cluster: Cluster | None = None,
) -> list[Files]:
    """Refine all files, list those that failed in `failed.csv`, and return these.

    What another process holds is looked at again in the end: it may be finished by then, or the process have ended.

    Args:
        files: What to refine.
        out: The folder of the outputs, and of the list, which is that of this run alone, also if it is interrupted.
        how: How; `max_memory` is shared by the workers in equal parts.
        workers: Processes, of which each has its part of torch's threads, too. For one, none is started.
        tell: Called for every file when it is done, with the reason if it failed.
        cluster: The Ray cluster that has the workers, in the place of processes; all its machines have the files, and
            the current folder, under the same names.

    Raises:
        ModuleNotFoundError: If Ray is asked for and is not installed.
        ConnectionError: If no cluster answers.
        OSError: If its actors cannot begin.
        ValueError: If `max_memory` is too little for so many workers.
        DataError: If there is a `failed.csv` that is not refine's.
        RuntimeError: If no worker can be started.
    """
    share = share_of(how, workers)
    listed = out / "failed.csv"
    check_failed_list(listed, _COLUMNS)
    queue, again = deque(files), set[Files]()
    failed: dict[Files, str] = {}

    def finish(file: Files, failure: Failure | None) -> None:
        if failure is not None and failure.held and file not in again:
            again.add(file)
            queue.append(file)
            return
        if failure is not None:
            failed[file] = failure.reason
        tell(file, failed.get(file))

    with nullcontext() if cluster is None or not files else connected(cluster) as data:
        listed.unlink(missing_ok=True)
        try:
            if cluster is not None and data is not None:
                queue.clear()
                for file, failure in run_on_ray(data, files, RefineJob(share), cluster):
                    finish(file, failure)
            elif workers > 1:
                _refine_in_processes(queue, share, workers, finish)
            while queue:
                file = queue.popleft()
                finish(file, try_refine_file(file, how))
        finally:
            rows = [(image, scores, reason) for (image, scores, _), reason in sorted(failed.items())]
            write_failed_list(listed, _COLUMNS, rows)  # without any, that of a run which has ended meanwhile goes
    return sorted(failed)


def share_of(how: FileSettings, workers: int) -> FileSettings:
    """Return the settings of one of so many workers, which share the memory.

    Raises:
        ValueError: If it is too little for so many.
    """
    if workers > 1 and how.max_memory < workers * _LEAST_MEMORY:
        raise ValueError(
            f"max_memory is shared by {workers} workers, which need at least {_LEAST_MEMORY / 1e9:.0f} GB each, "
            f"got {how.max_memory / 1e9:.2g} GB"
        )
    return dataclasses.replace(how, max_memory=how.max_memory // workers)


def _refine_in_processes(queue: deque[Files], how: FileSettings, workers: int, finish: Finish) -> None:
    """Refine files in processes, each of which takes the next one when it has finished one.

    A process that dies takes only its image with it: another one is started in its place. A pool of processes would
    end as a whole, and not tell which image it was.
    """
    context = multiprocessing.get_context("spawn")  # a forked one would have lost torch's threads
    threads = max(1, torch.get_num_threads() // workers)
    started: list[tuple[SpawnProcess, Connection]] = []  # also those that have nothing left to do
    running: dict[Connection, tuple[SpawnProcess, Files | None]] = {}  # with the image; None while it starts

    def start() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, how, threads, _log.getEffectiveLevel()), daemon=True)
        with _interrupts_ignored():
            process.start()
            started.append((process, ours))
        theirs.close()  # the process has it alone now, so when it dies, reading from `ours` fails
        running[ours] = process, None

    try:
        for _ in range(min(workers, len(queue))):
            start()
        while running:
            ready = wait(list(running))
            for connection in [one for one in running if one in ready]:
                process, file = running.pop(connection)
                try:
                    alive, failure = True, connection.recv()
                except (EOFError, OSError):
                    process.join()
                    alive, failure = False, Failure(f"{_STOPPED} {process.exitcode}: out of memory?")
                if file is not None:
                    finish(file, failure)
                if alive and queue:
                    running[connection] = process, queue.popleft()
                    with suppress(OSError):  # it has died just now, which the next look at it says
                        connection.send(running[connection][1])
                elif queue and file is not None:  # one that cannot even start is not tried again
                    start()
        if queue:
            raise RuntimeError(f"no worker reached an image: {failure.reason}")
    finally:
        for process, _ in started:
            process.terminate()
        deadline = time.monotonic() + _PATIENCE
        for process, _ in started:
            process.join(max(0, deadline - time.monotonic()))
            process.kill()
            process.join()


_STOPPED = "its process stopped with status"


def _work(connection: Connection, how: FileSettings, threads: int, level: int) -> None:
    """Refine the files that come in, until the process is ended, and send back what became of each."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # locks and temporary files are removed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(format="%(levelname)s %(module)s: %(message)s")
    _log.setLevel(level)
    torch.set_num_threads(threads)
    open_embedding(how.embedding)
    connection.send(None)
    while True:
        connection.send(try_refine_file(connection.recv(), how))


def _end_with_parent() -> None:
    """End this process when the one that started it was killed; pieces of work that are finished are not lost."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that are started ignore Ctrl-C, which a terminal sends to all: this one ends them."""
    if threading.current_thread() is not threading.main_thread():  # no other one may set what a signal does
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
