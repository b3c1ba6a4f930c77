"""The GPU that is measured: its clock, its memory, its ceilings, and graphs of what runs on it."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, NamedTuple, TypeAlias

import torch

from segaware.cli.bench.plan import Contender
from segaware.ops._backends import unavailable_backends

Precision: TypeAlias = Literal["bfloat16", "TF32", "float32"]
DTYPES: dict[Precision, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "TF32": torch.float32,
    "float32": torch.float32,
}
# How far results may be apart, relative to the largest: some roundings of 8, 11 and 24 bits.
TOLERANCES: dict[Precision, float] = {"bfloat16": 3e-2, "TF32": 5e-3, "float32": 1e-3}

DEVICE = "cuda"
_WARM_UPS = 3  # calls before a capture, as PyTorch advises


def problem() -> str | None:
    """Return why nothing can be measured here, or None."""
    missing = unavailable_backends()["triton"]
    if missing is None and not torch.cuda.is_available():
        missing = "Triton's interpreter (TRITON_INTERPRET=1) is not a GPU"
    return missing


def facts() -> dict[str, str | None]:
    """Return what card, driver and libraries are measured."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        driver = None
    values: dict[str, str | None] = {
        "card": torch.cuda.get_device_name(),
        "driver": driver,
        "cuda": torch.version.cuda,
        "cudnn": str(torch.backends.cudnn.version()),
    }
    for package in ("triton", "natten"):
        try:
            values[package] = version(package)
        except PackageNotFoundError:
            values[package] = None
    return values


def clock(run: Callable[[], Any], calls: int) -> tuple[float, Any]:
    """Return how many seconds of the GPU a call took, of so many in a row, and what the last one returned."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        output = run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / calls, output


def captured(run: Contender) -> Contender:
    """Return what replays a CUDA graph of a contender, captured at the first call: its kernels without Python."""
    if isinstance(run, str):
        return run
    graph: torch.cuda.CUDAGraph | None = None
    output: Any = None

    def replay() -> Any:
        nonlocal graph, output
        if graph is None:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    run()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = run()
        graph.replay()
        return output

    return replay


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


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Let products of float32 be TF32, or not, inside a `with` block."""
    convolution, product = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolution.allow_tf32, product.allow_tf32
    convolution.allow_tf32 = product.allow_tf32 = precision == "TF32"
    try:
        yield
    finally:
        convolution.allow_tf32, product.allow_tf32 = before


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
        source = torch.randint(256, (size,), dtype=torch.uint8, device=DEVICE)
        target = torch.empty_like(source)
        bandwidth = 2 * size / _median(lambda: target.copy_(source), repeats)
        operations: dict[Precision, float] = {}
        for precision, dtype in DTYPES.items():
            with computing_in(precision):
                a, b = (torch.randn(side, side, device=DEVICE).to(dtype) for _ in range(2))
                operations[precision] = 2 * side**3 / _median(partial(torch.matmul, a, b), repeats)
        _measured.append(Ceilings(bandwidth, operations))
    return _measured[0]


def _median(run: Callable[[], Any], repeats: int) -> float:
    clock(run, 1)
    return statistics.median(clock(run, 1)[0] for _ in range(repeats))
