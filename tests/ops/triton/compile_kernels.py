"""Compile what the operators launch for a GPU of compute capability ARGV[1], as 90, and print a JSON line per kernel.

No GPU is needed: a driver that only names the GPU stands in for it, and launches end when the machine code is there.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from segaware.ops import _launch
from segaware.ops.convolution import _triton as convolution
from segaware.ops.convolution._triton import input_gradient, masks, narrow, output
from segaware.ops.distance import _triton as distance
from segaware.ops.filtering import _triton as filtering
from segaware.ops.masking import _triton as masking
from segaware.ops.neighbour_mask import _triton as neighbour_mask
from segaware.ops.upsampling import _triton as upsampling
from segaware.ops.upsampling.taps import places
from segaware.ops.window import Window

ARCHITECTURE = int(sys.argv[1])
COMPILED: set[str] = set()
run = JITFunction.run


class Driver:
    """A GPU that is not there."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", ARCHITECTURE, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only(self: JITFunction, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
    """Take the place of a launch."""
    kernel = run(self, *arguments, grid=grid, warmup=True, **options)
    if kernel.hash in COMPILED:
        return
    COMPILED.add(kernel.hash)
    ptx = kernel.asm["ptx"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.ptx").write_text(ptx)
        target = re.search(r"\.target (\w+)", ptx)
        assert target
        # The compiler has assembled this already; only ptxas itself says what it took.
        command = [triton.knobs.nvidia.ptxas.path, "-v", "--gpu-name", target[1], "kernel.ptx", "-o", "kernel.cubin"]
        log = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr
    registers, spills = re.search(r"Used (\d+) registers", log), re.search(r"(\d+) bytes spill stores", log)
    assert registers and spills and kernel.asm["cubin"]
    result = {
        "kernel": f"{self.fn.__module__.removeprefix('segaware.ops.')}.{self.fn.__name__}",
        "dtype": str(next(a.dtype for a in arguments if isinstance(a, torch.Tensor))).removeprefix("torch."),
        "precision": options.get("precision"),
        "wide_offsets": str(options.get("index")) == "int64",
        "registers": int(registers[1]),
        "spilled_bytes": int(spills[1]),
        "shared_bytes": kernel.metadata.shared,
        "matrix_unit": "wgmma" if "wgmma.mma_async" in ptx else "mma" if "mma.sync" in ptx else None,
        "masked": options.get("masked"),
        # Instructions of the main loop, which is all that has some.
        "copies_of_16_bytes": ptx.count("cp.async.cg"),
        "copies_of_4_bytes": ptx.count("cp.async.ca"),
        # How many products may still run where a program waits for some.
        "pending": [int(n) for n in re.findall(r"wgmma.wait_group.sync.aligned (\d+)", ptx)],
        "factor_in_registers": re.search(r"wgmma.mma_async[^;]*?\{[^}]*\}, *\{", ptx) is not None,
        "plain_loads": ptx.count("ld.global"),
        "loads_of_16_bytes": "ld.global.v4" in ptx,
    }
    print(json.dumps(result), flush=True)


def launch_convolution(
    dtype: torch.dtype, channels: int, filters: int, side: int, images: int, groups: int = 1, stride: int = 1,
    kernel_size: int = 3,
) -> None:  # fmt: skip
    window = Window.of(kernel_size, stride, kernel_size - 1, 2)
    input = torch.empty(images, channels, side, side, dtype=dtype)
    size = window.output_size(input)
    grad, mask = torch.empty(images, filters, *size, dtype=dtype), torch.empty(images, window.size, *size)
    weight, bias = (
        torch.empty(filters, channels // groups, *window.kernel_size, dtype=dtype),
        torch.empty(filters, dtype=dtype),
    )
    convolution.forward(input, weight, mask, bias, window, groups, "mean")
    for with_mask in (True, False):  # without, the input's gradient may mask the factor
        convolution.backward(grad, input, weight, mask, window, groups, "mean", [True, True, with_mask, True])


@contextmanager
def the_other_form() -> Iterator[None]:
    """Let the mask be multiplied with products, where tables say factors."""
    with ExitStack() as stack:
        for module in (output, input_gradient):
            products = {key: tuple(t._replace(masked="product") for t in ts) for key, ts in module.TILES.items()}
            stack.enter_context(mock.patch.object(module, "TILES", products))
        yield


def launch_distance(dtype: torch.dtype, window: Window, metric: str, channels: int = 64, side: int = 40) -> None:
    embedding = torch.empty(1, channels, side, side, dtype=dtype)
    result = distance.forward(embedding, window, metric)
    distance.backward(result, embedding, result, window, metric)


def launch_filter(dtype: torch.dtype, border: str, channels: int = 21, side: int = 40, kernel_size: int = 9) -> None:
    window = Window.of(kernel_size, 1, "same")
    input, mask = torch.empty(1, channels, side, side, dtype=dtype), torch.empty(1, window.size, side, side)
    output, total = filtering.forward(input, mask, window, border)
    filtering.backward(output, input, mask, output, total, window, border, [True, True])


def launch_mask(dtype: torch.dtype) -> None:
    tensor, hardness = torch.empty(1, 9, 40, 40, dtype=dtype), torch.ones(())
    masking.backward(masking.forward(tensor, hardness), tensor, hardness)


def launch_neighbour_mask(side: int = 65, kernel_size: int = 13) -> None:
    lines = torch.empty(kernel_size, side)
    neighbour_mask.mask(torch.empty(8, kernel_size**2, side, side), torch.ones(()), lines, lines)


def launch_upsampling(dtype: torch.dtype, channels: int = 21, dim: int = 64, points: int = 5, radius: int = 2) -> None:
    side = 8 * points
    values, coarse = (torch.empty(1, c, points, points, dtype=dtype) for c in (channels, dim))
    pixels, place = torch.empty(1, dim, side, side, dtype=dtype), places(None, side, points, values.device)
    arguments = values, pixels, coarse, torch.ones(()), place, place
    output = upsampling.forward(*arguments, radius)
    upsampling.backward(output, *arguments, output, radius, [True] * 4)


def launch_everything() -> None:
    for allowed in (True, False):
        torch.backends.cudnn.allow_tf32 = allowed
        launch_convolution(torch.float32, 128, 128, 40, 1)
    for size in ((128, 128, 81, 8), (512, 512, 41, 1), (21, 20, 9, 1)):  # a large and a small tile, and odd sizes
        launch_convolution(torch.bfloat16, *size)
    launch_convolution(torch.bfloat16, 64, 32, 41, 2, groups=2, stride=2)
    with the_other_form():
        launch_convolution(torch.bfloat16, 128, 128, 81, 8)
    launch_convolution(torch.bfloat16, 96, 96, 40, 8, groups=96, kernel_size=7)
    launch_convolution(torch.float32, 48, 24, 41, 1, groups=12, stride=2)
    for dtype, metric in ((torch.float32, "l1"), (torch.bfloat16, "euclidean"), (torch.float32, "sqeuclidean")):
        launch_distance(dtype, Window.of(3, padding="same"), metric)
        launch_distance(dtype, Window.of((2, 3), 2, 1), metric)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        launch_mask(dtype)
    launch_filter(torch.float32, "exclude")
    launch_filter(torch.bfloat16, "zero")
    launch_neighbour_mask()
    launch_upsampling(torch.float32)
    launch_upsampling(torch.bfloat16, radius=1)
    # Triton takes sizes of 1 for constants.
    launch_convolution(torch.float32, 1, 1, 1, 1)
    launch_distance(torch.float32, Window.of(1, padding="same"), "l1", channels=1, side=1)
    launch_filter(torch.float32, "exclude", channels=1, side=1, kernel_size=1)
    launch_upsampling(torch.float32, channels=1, dim=1, points=1, radius=1)
    for module in (_launch, masks, narrow, distance, filtering, masking, neighbour_mask, upsampling):
        module.index_type = lambda *sizes: triton.language.int64  # type: ignore[attr-defined]
    launch_convolution(torch.bfloat16, 128, 128, 81, 8)
    launch_convolution(torch.bfloat16, 96, 96, 40, 8, groups=96)
    launch_distance(torch.float32, Window.of(3, padding="same"), "l1")
    launch_filter(torch.float32, "exclude")
    launch_upsampling(torch.float32)


if __name__ == "__main__":
    triton.runtime.driver.set_active(Driver())
    JITFunction.run = compile_only
    launch_everything()
