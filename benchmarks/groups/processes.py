"""What a step of training takes with two processes on CPUs, which exchange gradients by gloo, and with one.

Both do the same steps of the same global batch, each process on one thread. Of two lengths of training the difference
is measured, so that the start is not: seconds of all processors, which hardly depend on what else a machine does, and
seconds of the clock, which do.
"""

from __future__ import annotations

import functools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.plan import Group, Measurement, Settings

RECIPE = ("demo/baseline", "model.batch_norm=false", "evaluation.validation_images=2")
STEPS, REPEATED = (8, 32), 3
PROGRAM = Path(sys.executable).with_name("segaware")  # a program that the second process can start, too


def plan(settings: Settings) -> list[Measurement]:
    """Return one measurement, of both: they are run in turn."""
    return [Measurement("a step", functools.partial(_measure, settings))]


def _measure(settings: Settings) -> list[dict[str, Any]]:
    times: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    loads = [os.getloadavg()[0]]
    for _ in range(REPEATED):
        for processes, rows in times.items():
            short, long = (_train(processes, steps) for steps in STEPS)
            rows.append(tuple((b - a) / (STEPS[1] - STEPS[0]) for a, b in zip(short, long, strict=True)))  # type: ignore[arg-type]
    loads.append(os.getloadavg()[0])
    cpu, wall = ({n: statistics.median(row[which] for row in rows) for n, rows in times.items()} for which in (0, 1))
    return [
        {
            "title": f"{processes} process{'es' * (processes > 1)}",
            "processes": processes,
            "cpu_seconds": cpu[processes],
            "wall_seconds": wall[processes],
            "cpu_ratio": cpu[processes] / cpu[1],
            "wall_ratio": wall[processes] / wall[1],
            "loads": loads,
        }
        for processes in times
    ]


def _train(processes: int, steps: int) -> tuple[float, float]:
    """Train, and return the seconds of all processors, and of the clock."""
    with tempfile.TemporaryDirectory() as runs:
        options = [f"train.steps={steps}", "--runs", runs, "--devices", str(processes), "--accelerator", "cpu"]
        command = [str(PROGRAM), "train", *RECIPE, *options]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, seconds


GROUP = Group(
    "Training in two processes",
    "A step of `segaware train demo/baseline` without batch normalisation, by `--devices 2 --accelerator cpu` and by "
    "one process, of one thread each.",
    plan,
    runs="named",
    needs=("lightning",),
    rows="rows",
    facts={"recipe": RECIPE, "steps": STEPS, "repeated": REPEATED},
)
