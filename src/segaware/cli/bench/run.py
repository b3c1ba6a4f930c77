"""The groups of the benchmark, and running them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from segaware.cli.bench import crf, curves, distance, filtering, gpu, layers, network, overhead, recipes
from segaware.cli.bench.gpu import card
from segaware.cli.bench.plan import Measurement, Settings
from segaware.provenance import provenance, write_json

_LONG = ("recipes", "curves")
PACKAGES = ("numpy", "numba", "kornia", "opencv-python-headless", "pydensecrf2")


@dataclass(frozen=True)
class Group:
    """Measurements that share a file and a table."""

    title: str
    about: str
    plan: Callable[[Settings], list[Measurement]]


GROUPS = {
    "layers": Group(
        "Segmentation-aware convolution beside plain convolution",
        "The mask is given; forward + backward computes the gradients of input, weight and mask. The baseline is the "
        "faster memory format of plain `F.conv2d`, and the goal is for our faster one.",
        layers.plan,
    ),
    "distance": Group(
        "Embedding distances",
        "L1, beside unfold and the time to read the embedding twice: as warm in the cache as it is for us, or both "
        "from memory, with another copy for every call.",
        distance.plan,
    ),
    "filter": Group(
        "Bilateral filter",
        "Distances and mask included. Kornia's and OpenCV's filters are compared where they compute the same: their "
        "outputs are checked against ours, away from the border of the image, where they reflect.",
        filtering.plan,
    ),
    "crf": Group(
        "CRFs",
        "One photograph with random scores, beside pydensecrf with the constants of its README. Our dense CRF computes "
        "the same, which is checked. The segmentation-aware CRF and the filter run at half resolution, as in the "
        "recipes. Memory is measured in a fresh process each, in 10^6 bytes.",
        crf.plan,
    ),
    "overhead": Group("Cost of a call", "On an image so small that the call itself is what takes time.", overhead.plan),
    "network": Group(
        "Whole networks",
        "DeepLab-LargeFOV at full width. The time is without the embedding network, which is listed apart. Memory is "
        "the most that was resident in a fresh process, libraries included, in 10^6 bytes.",
        network.plan,
    ),
    "recipes": Group(
        "Recipes with each backend",
        "The untrained networks of the recipes, embedding network included, on random images of the size of their "
        "training crops. A training step is forward, loss and backward of a batch.",
        recipes.plan,
    ),
    "curves": Group(
        "Cost against work",
        "Forward, each point in a fresh process; distances and mask included. Memory is above that before the first "
        "call.",
        curves.plan,
    ),
    "gpu": Group(
        "On a GPU",
        "Timed by the GPU's own clock. What is not called from Python is the replay of a CUDA graph, so that small "
        "layers are not measured by the calls' overhead. Inputs stay in the GPU's cache if they fit. A floor is the "
        "arithmetic and the bytes that nobody can do without, at what this card reached in large products and copies; "
        "it counts taps inside the image and every tensor once. NATTEN computes another function of the same windows. "
        "Memory is what was allocated at most above inputs and weights, in 10^6 bytes.",
        gpu.plan,
    ),
}


def choose_groups(names: Sequence[str], full: bool) -> list[str]:
    """Return the groups to measure: those named, else all of a CPU; some take long and are only in the long form.

    Raises:
        ValueError: If there is no such group, or it cannot run here.
    """
    for name in names:
        if name not in GROUPS:
            raise ValueError(f"unknown group {name!r}: there are {', '.join(GROUPS)}")
    if "gpu" in names and (problem := card.problem()) is not None:
        raise ValueError(f"group gpu cannot run: {problem}")
    return list(names) or [name for name in GROUPS if name != "gpu" and (full or name not in _LONG)]


def check_settings(settings: Settings) -> None:
    """Raise ValueError if a setting is out of range, or there is no folder of peers."""
    if settings.threads < 1:
        raise ValueError(f"threads must be at least 1, got {settings.threads}")
    if not settings.peers.is_dir():
        raise ValueError(f"no folder {settings.peers} of peers: run in a checkout of segaware, or pass --peers FOLDER")


def run_groups(names: Sequence[str], settings: Settings, out: Path) -> Iterator[dict[str, Any]]:
    """Measure groups, write NAME.json for each that is finished, and yield its values."""
    torch.set_num_threads(settings.threads)
    measured = {
        **provenance(),
        "os": platform.platform(),
        **{package: _version(package) for package in PACKAGES},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seed": settings.seed,
        "form": "full" if settings.full else "quick",
    }
    for name in names:
        group, cases = GROUPS[name], []
        on_gpu = name == "gpu"
        limit = nullcontext() if on_gpu else _limited_memory()  # drivers reserve far more than a machine has
        with Progress(console=Console(stderr=True), transient=True) as progress, limit:
            task = progress.add_task(name, total=None)
            measurements = group.plan(settings)
            progress.update(task, total=len(measurements))
            for measurement in measurements:
                progress.update(task, description=f"{name}: {measurement.title}")
                cases += measurement.run()
                progress.advance(task)
        machine = measured | (card.facts() if on_gpu else {})
        values = {"group": name, "title": group.title, "about": group.about, "measured": machine, "cases": cases}
        write_json(out / f"{name}.json", values)
        yield values


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Let an allocation beyond the machine's memory fail, where the system would kill the whole process."""
    status, information = Path("/proc/self/status"), Path("/proc/meminfo")
    if not status.is_file():  # not Linux
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _bytes(status, "VmData") + _bytes(information, "MemAvailable")
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _bytes(file: Path, field: str) -> int:
    return next(1024 * int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(f"{field}:"))
