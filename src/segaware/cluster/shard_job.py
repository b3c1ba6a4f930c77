"""A job for images, done for the samples of shards."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import NamedTuple

from segaware.atomic import DISK_FULL
from segaware.cluster.failed_list import list_content
from segaware.cluster.job import Failure, Job, reason_of
from segaware.cluster.places import Place
from segaware.cluster.ray_actors import Cluster, connected, run_on_ray
from segaware.cluster.shards import TRANSFORMS, Column, Content, Make, Parts, find_shards
from segaware.data import DataError

_COLUMNS = ("shard", "sample", "error")
_FAILED = "failed.csv"


class _BrokenShardError(Exception):
    """A shard cannot be read."""


class Samples(NamedTuple):
    """How many images a shard has, and of those that failed the keys and reasons."""

    images: int
    failed: list[tuple[str, str]]


@dataclass(frozen=True)
class ShardJob:
    """Does a job for files, of which the last is what it writes, with the samples of a shard.

    A shard of the same name is written with what is made of them, and before it, if any failed, a list of these.

    Attributes:
        job: What is done to a sample's image, what is read beside it, and the file to write.
        column: Where that is in samples.
        out: Folder of what is written, a path or URL.
        suffix: Of the file that the job writes.
        keeps: Suffixes of what is read that the output has, too, in the place of `suffix`.
    """

    job: Job
    column: Column
    out: str
    suffix: str
    keeps: tuple[str, ...] = ()

    def open(self) -> None:
        """Load what the job loads."""
        self.job.open()

    def __call__(self, url: str) -> Samples | Failure:
        """Write the shard that belongs to another one, whole or not at all."""
        source, failed, keys = Place(url), list[tuple[str, str]](), list[str]()
        target = Place(self.out).below(source.name)

        with TemporaryDirectory(prefix="segaware-") as folder:

            def make(key: str, parts: Parts) -> Content | None:
                keys.append(key)
                try:
                    made = self._make(Path(folder), key, *parts())
                except DataError as error:
                    made = Failure(str(error))
                if isinstance(made, Content):
                    return made
                failed.append((key, made.reason.replace(f"{folder}/", "")))
                return None

            try:
                with target.replaced() as temporary:
                    self._transform(source, temporary, make)
                    _write_failed(Place(f"{target.url}.{_FAILED}"), [(source.name, *row) for row in failed])
            except _BrokenShardError as error:
                return Failure(str(error))
        return Samples(len(keys), failed)

    def _transform(self, source: Place, target: Path, make: Make) -> None:
        try:
            with source.open() as given, target.open("wb") as copy:
                TRANSFORMS[PurePosixPath(source.name).suffix](given, copy, self.column, make)
        except Exception as error:  # damaged files raise many: the next shard may be all right
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise
            raise _BrokenShardError(reason_of(error)) from error

    def _make(self, folder: Path, key: str, image: Content, beside: Content | None) -> Content | Failure:
        """Do the job with files of the contents' names, which are gone afterwards."""
        stem = key.replace("/", "_")
        parts = [image] if beside is None else [image, beside]
        files = [folder / f"{stem}{part.ending}" for part in parts]
        last = PurePosixPath(files[-1]).suffix
        suffix = last if last.lower() in self.keeps else self.suffix
        out = folder / "out" / f"{stem}{suffix}"
        try:
            for file, part in zip(files, parts, strict=True):
                file.write_bytes(part.data)
            failure = self.job((*files, out))
            return failure if isinstance(failure, Failure) else Content(out.read_bytes(), suffix)
        finally:
            for file in (*files, out):
                file.unlink(missing_ok=True)


def run_shards(
    source: str, job: ShardJob, cluster: Cluster, overwrite: bool, tell: Callable[[str, int, Samples | Failure], None]
) -> int:
    """Do a job for all shards in actors, but for those whose output is there, and return how many samples have none.

    Samples that failed, in earlier runs too, are listed in `failed.csv` beside the outputs.

    Args:
        source: Folder of the shards, or a shard; a path or URL.
        job: What is done.
        cluster: Where.
        overwrite: Whether outputs that are there are made anew.
        tell: Called for each shard that is done, with its name, how many are left, and what became of it.

    Raises:
        DataError: If there are no shards, they are where outputs go, or there is a `failed.csv` of others.
        ModuleNotFoundError: If Ray is not installed.
        ConnectionError: If no cluster answers.
        OSError: If its actors cannot begin, or outputs cannot be written.
    """
    given, out = Place(source), Place(job.out)
    if out.url in (given.url, given.url.rpartition("/")[0] if given.is_file() else None):
        raise DataError(f"{job.out}: --out must be another folder than that of what is read, {source}")
    shards = {Place(url).name: url for url in find_shards(given)}
    there = out.names()
    listed = out.below(_FAILED)
    if _FAILED in there:
        _read_failed(listed)  # raises an error if it is another's
    left = [url for name, url in shards.items() if overwrite or name not in there]
    broken: list[tuple[str, str, str]] = []
    try:
        if left:
            with listed.replaced() as probe:  # what cannot be written is told now
                probe.write_bytes(list_content([_COLUMNS]))
            with connected(cluster) as data:
                for number, (url, outcome) in enumerate(run_on_ray(data, left, job, cluster, block=1), 1):
                    name = Place(url).name
                    if isinstance(outcome, Failure):
                        broken.append((name, "", outcome.reason))
                    tell(name, len(left) - number, outcome)
    finally:
        lists = out.names() & {f"{name}.{_FAILED}" for name in shards}
        failed = [row for name in lists for row in _read_failed(out.below(name))]
        _write_failed(listed, sorted(failed + broken))
    return len(failed) + len(broken)


def _read_failed(place: Place) -> list[tuple[str, str, str]]:
    with place.open() as file:
        rows = list(csv.reader(io.StringIO(file.read().decode(errors="surrogateescape"))))
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise DataError(f"{place.url} is where failures are listed, but not of shards; move it away")
    return [(shard, sample, error) for shard, sample, error in rows[1:]]


def _write_failed(place: Place, rows: list[tuple[str, str, str]]) -> None:
    """Write a list, in place of an earlier one; without rows there is none."""
    if not rows:
        place.remove()
        return
    with place.replaced() as temporary:
        temporary.write_bytes(list_content([_COLUMNS, *rows]))
