"""What commands do with shards."""

from __future__ import annotations

import sys
import time

import typer
from tqdm.auto import tqdm

from segaware.cluster.job import Failure
from segaware.cluster.ray_actors import Cluster
from segaware.cluster.shard_job import Samples, ShardJob, run_shards
from segaware.data import DataError

_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} shards [{elapsed}<{remaining}{postfix}]"


def do_shards(source: str, job: ShardJob, cluster: Cluster | None, overwrite: bool) -> None:
    """Do a job for shards, show how many images a second that are, and exit with status 1 if any has no output."""
    if cluster is None:
        raise DataError(f"{source}: shards are for --ray; --ray local is this machine")
    started, images = time.monotonic(), 0
    with tqdm(desc="shards", bar_format=_BAR, disable=None) as bar:

        def tell(name: str, left: int, outcome: Samples | Failure) -> None:
            nonlocal images
            if isinstance(outcome, Failure):
                bar.write(f"segaware: {name}: {outcome.reason}", file=sys.stderr)
            else:
                images += outcome.images
                for key, reason in outcome.failed:
                    bar.write(f"segaware: {name}: {key}: {reason}", file=sys.stderr)
            bar.total = bar.n + 1 + left
            bar.set_postfix_str(rate(), refresh=False)
            bar.update()

        def rate() -> str:
            return f"{images / (time.monotonic() - started):.3g} images/s"

        failed = run_shards(source, job, cluster, overwrite, tell)
    print(f"{images} images, {rate()}", file=sys.stderr)
    if failed:
        print(f"{failed} images or shards have no output: see {job.out}/failed.csv", file=sys.stderr)
        raise typer.Exit(1)
