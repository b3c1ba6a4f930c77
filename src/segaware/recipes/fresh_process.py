"""Measuring in a fresh process, so that memory is its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal


def run_fresh(module: str, *arguments: str) -> dict[str, Any] | str:
    """Run a module as `python -m` does; return the JSON of the last line it prints, or why there is none."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.splitlines() or [f"stopped with status {done.returncode}: out of memory?"])[-1]
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values


def process_memory(field: Literal["VmRSS", "VmHWM"]) -> float:
    """Return how much memory of this process is resident, or the most that ever was, in MB.

    Raises:
        OSError: If the system is not Linux.
    """
    # getrusage's ru_maxrss would not do: it begins with the peak of the process that started this one.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {field}")
