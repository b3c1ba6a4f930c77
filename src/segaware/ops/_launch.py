"""What all Triton kernels share: the numbers of a call, tile sizes, number types, and where offsets fit 32 bits."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
import triton
import triton.language as tl
from torch import Tensor

from segaware.ops._tuned_tiles import Tile, tile_key, tuned_tiles
from segaware.ops.arguments import is_channels_last
from segaware.ops.window import Window

INTERPRETED = triton.knobs.runtime.interpret  # whether kernels are run by the interpreter, on CPU tensors, or compiled
PROGRAMS = 264  # that keep a GPU busy: two on each of an H100's 132 multiprocessors

_TYPES = {
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
}

# By kernel and precision: a tile, or the larger one and the one for calls too small for that to fill a GPU.
Tiles: TypeAlias = dict[tuple[str, str], tuple[Tile, ...]]


def choose_tile(tiles: Tiles, kernel: str, precision: str, images: int, rows: int, columns: int, depth: int) -> Tile:
    """Return the tile for so many products of this size: the tuned one, or that of the table; no larger than needed."""
    tile = tuned_tiles().get(tile_key(kernel, precision, images, rows, columns, depth))
    if tile is None:
        tile = tiles[kernel, precision][0]
        if images * triton.cdiv(rows, tile.rows) * triton.cdiv(columns, tile.columns) < PROGRAMS:
            tile = tiles[kernel, precision][-1]
    return tile._replace(
        rows=_fitting(rows, tile.rows), columns=_fitting(columns, tile.columns), depth=_fitting(depth, tile.depth)
    )


def _fitting(size: int, most: int) -> int:
    """Return the power of two that holds so many: no fewer than the 16 that matrix units want, and at most `most`."""
    return max(16, min(most, triton.next_power_of_2(size)))


def constants(tile: Tile, like: Tensor, *sizes: int) -> dict[str, Any]:
    """Return the compile-time arguments that kernels of products have.

    `sizes` are the most numbers that lie between two that a program reads: 2^31 and more take offsets of 64 bits.
    """
    # The interpreter's product would take bfloat16 for integers.
    operand = torch.float32 if INTERPRETED and like.dtype == torch.bfloat16 else like.dtype
    return {
        "precision": "tf32" if precision_of(like) == "tf32" else "ieee",
        "operand": _TYPES[operand],
        "accumulator": accumulator_type(like),
        "index": index_type(*sizes),
        "rows": tile.rows,
        "columns": tile.columns,
        "depth": tile.depth,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }


def precision_of(tensor: Tensor) -> str:
    """Return how products of a tensor are computed: "half", "tf32", "ieee" or "double".

    A float32 convolution takes TF32 where torch's own would.
    """
    if tensor.dtype == torch.float64:
        return "double"
    if tensor.dtype != torch.float32:
        return "half"
    switch = getattr(torch.backends.cudnn, "conv", None)  # since torch 2.9
    allowed = torch.backends.cudnn.allow_tf32 if switch is None else switch.fp32_precision == "tf32"
    return "tf32" if allowed else "ieee"


def accumulator_type(tensor: Tensor) -> tl.dtype:
    """Return the type to add up in."""
    return tl.float64 if tensor.dtype == torch.float64 else tl.float32


def index_type(*sizes: int) -> tl.dtype:
    """Return the type of offsets into so many numbers."""
    return tl.int64 if max(sizes) >= 2**31 else tl.int32


def image_size(tensor: Tensor) -> int:
    """Return how many numbers one image of a batch has."""
    return tensor.shape[1:].numel()


def channels_last(tensor: Tensor) -> Tensor:
    """Return a tensor in channels-last order of memory, even where a size of 1 makes that the contiguous one too."""
    return tensor.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def in_format(tensor: Tensor, *like: Tensor) -> Tensor:
    """Return a channels-last tensor in the format of others: channels-last if one of them is."""
    return tensor if any(map(is_channels_last, like)) else tensor.contiguous()


def on_device_of(tensor: Tensor) -> Any:
    """Make the tensor's GPU the one that kernels are launched on, inside a `with` block."""
    return torch.cuda.device_of(tensor)


class Problem(NamedTuple):
    """The numbers of one call that every kernel needs. Triton compiles a kernel anew where one of them is 1."""

    channels: int
    height: int
    width: int
    plane: int
    out_height: int
    out_width: int
    pixels: int  # of the output
    kernel_height: int
    kernel_width: int
    taps: int
    stride_y: int
    stride_x: int
    top: int  # how far above the image the first window begins
    left: int
    dilation_y: int
    dilation_x: int

    @classmethod
    def of(cls, image: Tensor, window: Window) -> Problem:
        """Take them from the arguments of an operator."""
        channels, height, width = image.shape[1:]
        out_height, out_width = window.output_size(image)
        (top, _), (left, _) = window.padding
        return cls(
            channels, height, width, height * width, out_height, out_width, out_height * out_width,
            *window.kernel_size, window.size, *window.stride, top, left, *window.dilation,
        )  # fmt: skip
