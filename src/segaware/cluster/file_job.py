"""A job done for files of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segaware.cluster.failed_list import check_failed_list, write_failed_list
from segaware.cluster.job import Failure, Files, Job
from segaware.cluster.ray_actors import Cluster, connected, run_on_ray

_COLUMNS = ("image", "error")


@contextmanager
def running(items: Sequence[Any], job: Job, cluster: Cluster | None) -> Iterator[Iterator[tuple[Any, Any]]]:
    """Give each thing and what a job returned for it, done in the actors of a cluster or, without one, here."""
    if cluster is None or not items:
        if items:
            job.open()
        yield ((item, job(item)) for item in items)
        return
    with connected(cluster) as data:
        yield run_on_ray(data, items, job, cluster)


def run_files(
    files: Sequence[Files],
    job: Job,
    out: Path,
    cluster: Cluster | None,
    tell: Callable[[Files, Failure | None], None],
) -> int:
    """Do a job for files, list those that failed in `failed.csv`, and return how many these are.

    Args:
        files: For each call of the job what it reads, first a photograph, and what it writes.
        job: What is done.
        out: Folder of the list, which is that of this run alone.
        cluster: Where; its machines have the files, and the current folder, under the same names. None for here.
        tell: Called for each when it is done.

    Raises:
        DataError: If there is a `failed.csv` of something else.
        ModuleNotFoundError: If Ray is asked for and is not installed.
        ConnectionError: If no cluster answers.
        OSError: If its actors cannot begin.
    """
    listed = out / "failed.csv"
    check_failed_list(listed, _COLUMNS)
    failed: list[tuple[Path, str]] = []
    try:
        with running(files, job, cluster) as results:
            for file, failure in results:
                if failure is not None:
                    failed.append((file[0], failure.reason))
                tell(file, failure)
    finally:
        write_failed_list(listed, _COLUMNS, sorted(failed))
    return len(failed)
