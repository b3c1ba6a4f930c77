"""Measuring in a subprocess, so that peak memory is that of the measurement."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def run_fresh(module: str, *arguments: str) -> dict[str, Any] | str:
    """Run a module as `python -m` does; return the JSON of the last line it prints, or why there is none."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.splitlines() or [f"stopped with status {done.returncode}: out of memory?"])[-1]
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values
