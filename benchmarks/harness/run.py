"""Running groups of the benchmark."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from benchmarks.harness.plan import Group, Settings
from segaware.provenance import provenance, write_json
from segaware.tuning import gpu


def check_runs(groups: Mapping[str, Group], settings: Settings) -> None:
    """Raise ValueError if a setting is out of range, there is no folder of peers, or a group cannot run here."""
    if settings.threads < 1:
        raise ValueError(f"threads must be at least 1, got {settings.threads}")
    if not settings.peers.is_dir():
        raise ValueError(f"no folder {settings.peers} of peers")
    for name, group in groups.items():
        problem = gpu.problem() if group.on_gpu else None
        missing = [package for package in group.needs if _version(package) is None]
        if problem is not None or missing:
            raise ValueError(f"group {name} cannot run: {problem or ', '.join(missing) + ': not installed'}")


def run_groups(groups: Mapping[str, Group], settings: Settings, out: Path) -> Iterator[dict[str, Any]]:
    """Measure groups, write NAME.json for each that is finished, and yield its values."""
    torch.set_num_threads(settings.threads)
    for name, group in groups.items():
        rows: list[dict[str, Any]] = []
        limit = nullcontext() if group.on_gpu else _limited_memory()  # drivers reserve far more than a machine has
        measured = {
            **provenance("python", "-m", "benchmarks"),
            "os": platform.platform(),
            **{package: _version(package) for package in (*group.packages, *group.needs)},
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seed": settings.seed,
            "form": "full" if settings.full else "quick",
            **(gpu.facts() if group.on_gpu else {}),
        }
        with Progress(console=Console(stderr=True), transient=True) as progress, limit:
            task = progress.add_task(name, total=None)
            measurements = group.plan(settings)
            progress.update(task, total=len(measurements))
            for measurement in measurements:
                progress.update(task, description=f"{name}: {measurement.title}")
                rows += measurement.run()
                progress.advance(task)
        texts = {"group": name, "title": group.title, "about": group.about}
        values = {**texts, **group.facts, "measured": measured, group.rows: rows}
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
