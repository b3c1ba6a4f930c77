"""What the GPU does at best: its memory, its ceilings; and contenders as CUDA graphs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from benchmarks.harness.plan import Contender
from segaware.tuning import gpu
from segaware.tuning.gpu import DTYPES, Precision, computing_in

# How far results may be apart, relative to the largest: some roundings of 8, 11 and 24 bits.
TOLERANCES: dict[Precision, float] = {"bfloat16": 3e-2, "TF32": 5e-3, "float32": 1e-3}


def captured(contender: Contender) -> Contender:
    """Return the CUDA graph of a contender that can run."""
    return contender if isinstance(contender, str) else gpu.captured(contender)


def peak_megabytes(run: Callable[[], Any]) -> float:
    """Return how much more memory than before was allocated at most during a second call, in MB."""
    run()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


class Ceilings(NamedTuple):
    """What the card reached in a large copy, in bytes per second, and in large matrix products, per second."""

    bandwidth: float
    operations: dict[Precision, float]

    def seconds(self, precision: Precision, operations: float, moved: float) -> float:
        """Return the least time for so much arithmetic, and so many bytes."""
        return max(operations / self.operations[precision], moved / self.bandwidth)


_measured: list[Ceilings] = []


def ceilings(size: int = 1 << 30, side: int = 8192, repeats: int = 20) -> Ceilings:
    """Measure a copy of so many bytes and products of square matrices, once per process."""
    if not _measured:
        source = torch.randint(256, (size,), dtype=torch.uint8, device=gpu.DEVICE)
        target = torch.empty_like(source)
        bandwidth = 2 * size / _median(lambda: target.copy_(source), repeats)
        operations: dict[Precision, float] = {}
        for precision, dtype in DTYPES.items():
            with computing_in(precision):
                a, b = (torch.randn(side, side, device=gpu.DEVICE).to(dtype) for _ in range(2))
                operations[precision] = 2 * side**3 / _median(partial(torch.matmul, a, b), repeats)
        _measured.append(Ceilings(bandwidth, operations))
    return _measured[0]


def _median(run: Callable[[], Any], repeats: int) -> float:
    gpu.clock(run, 1)
    return statistics.median(gpu.clock(run, 1)[0] for _ in range(repeats))
