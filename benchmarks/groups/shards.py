"""What shards of photographs cost, a simulation that scales it, and a run on two workers that checks it.

Times per photograph are seconds of the processor, on one thread: they hardly depend on what else a machine does.
"""

from __future__ import annotations

import functools
import heapq
import io
import os
import re
import signal
import statistics
import sys
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.groups.refining import coarse_scene
from benchmarks.harness.plan import Group, Measurement, Settings
from segaware.cluster.job import Failure
from segaware.cluster.ray_actors import Cluster, connected, run_on_ray
from segaware.cluster.shard_job import Samples, ShardJob
from segaware.cluster.shards import Column, transform_tar
from segaware.data import photograph, read_image
from segaware.process_memory import process_memory
from segaware.refining.refine_files import RefineJob, find_files
from segaware.refining.score_files import FileSettings
from segaware.refining.settings import Settings as Refining

SIZE, CLASSES, REPEATED = (375, 500), 21, 16
SMALL, SMALL_CLASSES, PHOTOGRAPHS, SHARDS = (64, 96), 3, 2000, 40
NAMES = 20_000  # of empty files in a folder
YEARS = 3.0  # for which a machine of 16 cores runs until it is lost
CLUSTERS = ((10**6, 1000, 16), (10**6, 1000, 256), (10**8, 10_000, 256), (10**8, 10_000, 4096))
_FILE_EVENTS = {"open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir"}
Loss = Callable[[int], float]  # after how many seconds an attempt at a shard is lost


def plan(settings: Settings) -> list[Measurement]:
    """Return the steps: the cost of a photograph in a shard, by what is written, and of one in a folder."""
    return [
        *(Measurement(suffix, functools.partial(_cost, settings.seed, suffix)) for suffix in (".png", ".npy")),
        Measurement("names", _names),
    ]


def plan_run(settings: Settings) -> list[Measurement]:
    """Return the runs on a cluster of this machine.

    Raises:
        ValueError: If no folder of data sets is given.
    """
    if settings.data_root is None:
        raise ValueError("--data-root must be the folder of voc, of whose photographs the run takes crops, got none")
    crops = functools.partial(_crops, settings.data_root / "voc/JPEGImages", settings.seed)
    return [
        Measurement(f"{workers} workers, {lost} lost", functools.partial(_run, crops, workers, lost))
        for workers, lost in ((1, 0), (2, 0), (2, 1))
    ]


def simulate(shards: Sequence[int], cost: float, workers: int, start: float, loss: Loss) -> float:
    """Return the seconds until all shards are done by workers that take one after the other.

    Args:
        shards: How many photographs each has.
        cost: Seconds for one.
        workers: How many there are.
        start: Seconds until a worker is ready, at first and after it was lost.
        loss: After how many seconds the n-th attempt at a shard is lost, with its worker; a shard that is done before
            is not.

    Example:
        >>> simulate([10, 10, 10], 0.5, 2, 1.0, lambda attempt: float("inf"))
        11.0
    """
    ready, left, attempt, end = [start] * workers, deque(shards), 0, 0.0
    while left:
        now, shard = heapq.heappop(ready), left.popleft()
        seconds, lost = shard * cost, loss(attempt)
        attempt += 1
        if lost < seconds:
            left.append(shard)
            heapq.heappush(ready, now + lost + start)
        else:
            heapq.heappush(ready, now + seconds)
            end = max(end, now + seconds)
    return end


def scaled(cost: float, start: float, seed: int = 0) -> list[dict[str, Any]]:
    """Return how long millions of photographs take on clusters whose machines are lost now and then."""
    rows = []
    for photographs, shard, cores in CLUSTERS:
        rng = np.random.default_rng(seed)
        losses = rng.exponential(
            YEARS * 365 * 86400 / 16, 10 * photographs // shard
        )  # a worker is lost with its machine
        shards = [shard] * (photographs // shard)
        seconds = simulate(shards, cost, cores, start, losses.__getitem__)
        ideal = photographs * cost / cores
        rows.append(
            {
                "photographs": photographs,
                "shard": shard,
                "cores": cores,
                "hours": seconds / 3600,
                "ideal_hours": ideal / 3600,
            }
        )
    return rows


def _settings() -> FileSettings:
    return FileSettings(Refining(), None, None, "pretrained", 4 * 10**9, False)


def _write_shard(path: Path, samples: Sequence[tuple[bytes, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for number, (image, scores) in enumerate(samples):
            for ending, data in (("jpg", image), ("npy", scores)):
                member = tarfile.TarInfo(f"{number:06}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def _encoded(image: Image.Image, scores: np.ndarray) -> tuple[bytes, bytes]:
    jpeg, array = io.BytesIO(), io.BytesIO()
    image.save(jpeg, "JPEG", quality=92)
    np.save(array, scores.astype(np.float16))
    return jpeg.getvalue(), array.getvalue()


def _cost(seed: int, suffix: str) -> list[dict[str, Any]]:
    """Measure the stages of a photograph, and what is read and written for it."""
    image = Image.fromarray(read_image(photograph())).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    samples = [_encoded(image, coarse_scene(seed + n, *SIZE, CLASSES)) for n in range(REPEATED)]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_shard(folder / "0.tar", samples)
        started = time.process_time()
        job = ShardJob(RefineJob(_settings()), Column("npy"), str(folder / "out"), suffix)
        job.open()
        _write_shard(folder / "first.tar", samples[:1])
        job(f"{folder}/first.tar")  # loads kernels
        start = time.process_time() - started
        times = []
        for number, sample in enumerate(samples):
            _write_shard(folder / f"{number}-one.tar", [sample])
            started = time.process_time()
            job(f"{folder}/{number}-one.tar")
            times.append(time.process_time() - started)
        job(f"{folder}/0.tar")
        copied = []
        for _ in range(5):  # of the shard, without a job: what reading and writing takes
            with (folder / "0.tar").open("rb") as source, (folder / "copy.tar").open("wb") as target:
                started = time.process_time()
                transform_tar(source, target, Column("npy"), lambda key, parts: parts()[1])
                copied.append((time.process_time() - started) / REPEATED)
        read, written = ((folder / path).stat().st_size / REPEATED for path in ("0.tar", "out/0.tar"))
    seconds = statistics.median(times)
    row = {
        "title": f"a photograph, {suffix}",
        "cpu_seconds": seconds,
        "cpu_seconds_of_shards": statistics.median(copied),
    }
    row |= {"start_cpu_seconds": start, "bytes_read": read, "bytes_written": written}
    return [{**row, "scaled": scaled(seconds, start)}]


def _names() -> list[dict[str, Any]]:
    """Measure what it takes to find the photographs of a folder, and their scores, and which are done."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, suffix in (("images", ".jpg"), ("scores", ".npy"), ("out", ".npy")):
            (folder / kind).mkdir()
            for number in range(NAMES):
                (folder / kind / f"{number:08}{suffix}").touch()
        before, started = process_memory("VmRSS"), time.process_time()
        files = find_files(folder / "images", folder / "scores", folder / "out", None)
        left = [file for file in files if not file[2].is_file()]
        seconds, held = time.process_time() - started, process_memory("VmRSS") - before
    assert len(files) == NAMES and not left
    row = {"title": "a photograph in a folder", "names": NAMES, "cpu_seconds": seconds / NAMES}
    return [{**row, "bytes_held": 1e6 * held / NAMES, "operations": _operations()}]


def _operations() -> int:
    """Return how many files and folders are opened, listed, made, moved and removed to refine a file in a folder."""
    count: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image, scores = _encoded(Image.new("RGB", SIZE[::-1]), coarse_scene(0, *SIZE, CLASSES))
        (folder / "a.jpg").write_bytes(image)
        (folder / "a.npy").write_bytes(scores)
        job = RefineJob(_settings())
        job((folder / "a.jpg", folder / "a.npy", folder / "out" / "first.png"))  # loads networks and kernels

        def note(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _FILE_EVENTS and arguments and str(arguments[0]).startswith(name):
                count.append(event)

        sys.addaudithook(note)  # for ever, but nothing else is in this folder
        job((folder / "a.jpg", folder / "a.npy", folder / "out" / "second.png"))
        return len(count)


@dataclass(frozen=True)
class _Timed:
    """A job for shards that tells of its process and times, too."""

    job: ShardJob

    def open(self) -> None:
        self.job.open()

    def __call__(self, url: str) -> tuple[Samples | Failure, float, float]:
        cpu, wall = time.process_time(), time.perf_counter()
        return self.job(url), time.process_time() - cpu, time.perf_counter() - wall


def _crops(photographs: Path, seed: int, folder: Path) -> None:
    """Write the shards of small photographs."""
    images = sorted(photographs.glob("*.jpg"))
    samples = []
    for number in range(PHOTOGRAPHS):
        with Image.open(images[number % len(images)]) as image:
            crop = image.convert("RGB").crop((0, 0, *SMALL[::-1]))
        samples.append(_encoded(crop, coarse_scene(seed + number, *SMALL, SMALL_CLASSES)))
    for number in range(SHARDS):
        _write_shard(folder / f"{number:03}.tar", samples[number::SHARDS])


def _run(crops: Callable[[Path], None], workers: int, lost: int) -> list[dict[str, Any]]:
    """Refine small photographs with actors, of which one is killed in the middle, and compare the simulation."""
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "in", Path(name) / "out"
        folder.mkdir()
        crops(folder)
        job = _Timed(ShardJob(RefineJob(_settings()), Column("npy"), str(out), ".png"))
        cluster = Cluster("local", workers)
        before, cpu, wall, done, killed, started = os.getloadavg()[0], 0.0, 0.0, 0, 0, time.perf_counter()
        with connected(cluster) as data:
            ready = time.perf_counter()
            first = 0.0
            for _, result in run_on_ray(data, [str(path) for path in sorted(folder.iterdir())], job, cluster, block=1):
                assert not isinstance(result, Failure) and isinstance(result[0], Samples) and not result[0].failed, (
                    result
                )
                cpu, wall, done = cpu + result[1], wall + result[2], done + result[0].images
                first = first or time.perf_counter() - ready - result[2]
                if killed < lost and done >= PHOTOGRAPHS // 2:
                    killed += _kill_one(out)
            seconds = time.perf_counter() - ready
        after = os.getloadavg()[0]
        assert done == PHOTOGRAPHS and len(list(out.glob("*.tar"))) == SHARDS
    in_half = wall / SHARDS / 2
    loss: Loss = lambda attempt: in_half if lost and attempt == SHARDS // 2 else float("inf")  # noqa: E731
    simulated = simulate([PHOTOGRAPHS // SHARDS] * SHARDS, wall / PHOTOGRAPHS, workers, first, loss)
    return [
        {
            "title": f"{workers} worker{'s' * (workers > 1)}, {killed} killed",
            "workers": workers,
            "killed": killed,
            "connect_seconds": ready - started,
            "first_seconds": first,
            "seconds": seconds,
            "simulated_seconds": simulated,
            "images_per_second": PHOTOGRAPHS / (seconds - first),
            "cpu_seconds": cpu / PHOTOGRAPHS,
            "wall_seconds": wall / PHOTOGRAPHS,
            "load_before": before,
            "load_after": after,
        }
    ]


def _kill_one(out: Path) -> int:
    """Kill an actor that is writing a shard; return how many were killed."""
    for temporary in out.glob(".*.tar.*.tmp"):
        process = re.fullmatch(r"\..*\.tar\.(\d+)\.tmp", temporary.name)
        assert process is not None
        os.kill(int(process[1]), signal.SIGKILL)
        return 1
    return 0


GROUP = Group(
    "Shards of photographs",
    "`segaware refine --ray` on tar shards, from coarse scores in half precision, and a simulation that scales it.",
    plan,
    runs="named",
    needs=("ray",),
    rows="rows",
    facts={"size": SIZE, "classes": CLASSES, "years_of_a_machine": YEARS},
)
RUN = Group(
    "A run on shards of small photographs",
    "Actors of Ray on this machine, one of which is killed, and what the simulation says.",
    plan_run,
    runs="named",
    needs=("ray",),
    rows="rows",
    facts={"small": SMALL, "photographs": PHOTOGRAPHS, "shards": SHARDS},
)
