"""What commands do with the photographs of a folder, each by itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from tqdm.auto import tqdm

from segaware.cluster.file_job import run_files
from segaware.cluster.job import Failure, Files, Job
from segaware.cluster.ray_actors import Cluster
from segaware.data import IMAGE_SUFFIXES, DataError
from segaware.outputs import check_apart

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"  # images a second also if few


def do_files(files: Sequence[Files], job: Job, out: Path, cluster: Cluster | None, overwrite: bool) -> None:
    """Do a job for photographs whose outputs are not there, and exit with status 1 if any has none then.

    Args:
        files: For each a photograph, and what is written.
        job: What is done.
        out: The folder of outputs.
        cluster: Where; None for here.
        overwrite: Whether outputs that are there are made anew.
    """
    if not files:
        raise DataError(f"no image (none of {', '.join(IMAGE_SUFFIXES)})")
    check_apart({path.parent for file in files for path in file[1:]}, [file[0] for file in files[:1]])
    left = [file for file in files if overwrite or not all(path.is_file() for path in file[1:])]
    with tqdm(total=len(files), initial=len(files) - len(left), unit=" images", bar_format=BAR, disable=None) as bar:

        def tell(file: Files, failure: Failure | None) -> None:
            if failure is not None:
                bar.write(f"segaware: {file[0].name}: {failure.reason}", file=sys.stderr)
            bar.update()

        failed = run_files(left, job, out, cluster, tell)
    if failed:
        print(f"{failed} of {len(files)} images have no output: see {out / 'failed.csv'}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{len(files)} images: {out}")
