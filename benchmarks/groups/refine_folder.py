"""Images a second and memory of `segaware refine --workers N` over a folder, start included.

Memory is that of all processes of the command together. What they share is counted once: a page that n processes have
in memory counts as 1/n in each (Linux' proportional set size). It is looked at ten times a second.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.groups.refining import coarse_scene
from benchmarks.harness.plan import Group, Measurement, Settings
from segaware.data import photograph, read_image

SIZE, CLASSES, IMAGES = (375, 500), 21, 96
RUN = "from segaware.cli.main import app; app()"


def plan(settings: Settings, images: int = IMAGES, size: tuple[int, int] = SIZE) -> list[Measurement]:
    """Return one measurement per number of workers: 1, 2, and one for every core."""
    return [
        Measurement(f"{workers} workers", functools.partial(_measure, settings, images, size, workers))
        for workers in sorted({1, 2, os.cpu_count() or 1})
    ]


def _measure(settings: Settings, images: int, size: tuple[int, int], workers: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder, settings.seed, images, size)
        paths = [str(folder / "images"), str(folder / "scores"), "--out", str(folder / "out")]
        command = [sys.executable, "-c", RUN, "refine", *paths]
        options = ["--suffix", ".png", "--workers", str(workers), "--max-memory", f"{2 * workers}GB"]
        started = time.perf_counter()
        with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, start_new_session=True) as process:
            peak = 0.0
            while process.poll() is None:
                peak = max(peak, _session_memory(process.pid))
                time.sleep(0.1)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        seconds = time.perf_counter() - started
    title = f"{workers} worker{'s' * (workers > 1)}"
    return [{"title": title, "seconds": seconds, "images_per_second": images / seconds, "peak_mb": peak}]


def _session_memory(session: int) -> float:
    """Return how much memory all processes of a session take, in MB."""
    kilobytes = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if os.getsid(int(folder.name)) == session:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes * 1024 / 1e6


def _write_inputs(folder: Path, seed: int, images: int, size: tuple[int, int]) -> None:
    for name in ("images", "scores"):
        (folder / name).mkdir()
    image = Image.fromarray(read_image(photograph())).resize(size[::-1], Image.Resampling.BICUBIC)
    for number in range(images):
        image.save(folder / "images" / f"{number}.jpg", quality=92)
        np.save(folder / "scores" / f"{number}.npy", coarse_scene(seed + number, *size, CLASSES))


GROUP = Group(
    "Refining a folder",
    "`segaware refine --workers N`, from coarse scores to classes, start included.",
    plan,
    runs="named",
    rows="rows",
    facts={"size": SIZE, "classes": CLASSES, "images": IMAGES},
)
