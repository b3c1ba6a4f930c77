"""The GPU that is measured: its clock, and graphs of what runs on it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch

from segaware.ops._backends import unavailable_backends
from segaware.ops._tuned_tiles import tuned_for

Precision: TypeAlias = Literal["bfloat16", "TF32", "float32"]
DTYPES: dict[Precision, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "TF32": torch.float32,
    "float32": torch.float32,
}

DEVICE = "cuda"
_WARM_UPS = 3  # calls before a capture, as PyTorch advises


def problem() -> str | None:
    """Return why nothing can be measured here, or None."""
    missing = unavailable_backends()["triton"]
    if missing is None and not torch.cuda.is_available():
        missing = "Triton's interpreter (TRITON_INTERPRET=1) is not a GPU"
    return missing


def facts() -> dict[str, str | None]:
    """Return which GPU, driver and libraries are measured."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        driver = None
    return {
        **tuned_for(torch.cuda.get_device_name()),
        "driver": driver,
        "cuda": torch.version.cuda,
        "cudnn": str(torch.backends.cudnn.version()),
    }


def clock(run: Callable[[], Any], calls: int) -> tuple[float, Any]:
    """Return how many seconds of the GPU a call took, of so many in a row, and what the last one returned."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        output = run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / calls, output


def captured(run: Callable[[], Any]) -> Callable[[], Any]:
    """Return what replays a CUDA graph of a function, captured at the first call: its kernels without Python."""
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
