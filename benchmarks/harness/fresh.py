"""One measurement in a process of its own, so that peak memory and compilation are its own."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.measure import Samples, interleave
from benchmarks.harness.plan import Contender, Settings
from segaware.fresh_process import run_fresh
from segaware.process_memory import process_memory


def measure_fresh(
    task: Callable[..., Contender], settings: Settings, seconds: float | None, **arguments: Any
) -> dict[str, Any] | str:
    """Call `task(settings, **arguments)` in a fresh process and measure what it returns.

    Args:
        task: A function of a module.
        settings: Its first argument.
        seconds: Time for calls after the first; None for the first only.
        arguments: Its other arguments, JSON-like.

    Returns:
        The times "first" and "rounds" in seconds, "peak", the most memory that was resident, and "increase", how much
        that is above the memory before the first call, in MB; or why there is nothing.
    """
    request = {
        "module": task.__module__,
        "task": task.__name__,
        "settings": {**asdict(settings), "peers": str(settings.peers)},
        "seconds": seconds,
        "arguments": arguments,
    }
    return run_fresh("benchmarks.harness.fresh", json.dumps(request))


def _main() -> None:
    request = json.loads(sys.argv[1])
    settings = Settings(**{**request["settings"], "peers": Path(request["settings"]["peers"])})
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    run = getattr(importlib.import_module(request["module"]), request["task"])(settings, **request["arguments"])
    if isinstance(run, str):
        raise SystemExit(run)
    before = process_memory("VmRSS")
    if request["seconds"] is None:
        run()
        result = Samples(first=None)
    else:
        timed = interleave({"": run}, request["seconds"], settings.seed)[""]
        if isinstance(timed, str):
            raise SystemExit(timed)
        result = timed
    peak = process_memory("VmHWM")
    print(json.dumps({**asdict(result), "peak": peak, "increase": peak - before}))


if __name__ == "__main__":
    _main()
