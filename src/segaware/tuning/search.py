"""Searching the tiles of the matrix products once, for layers of the sizes of DeepLab's, on the GPU at hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, get_args
from unittest import mock

import torch
from torch import Tensor

from segaware.ops import segaware_conv2d
from segaware.ops._tuned_tiles import Masked, Tile, read_tiles, tuned_for, tuned_tiles
from segaware.provenance import provenance, write_json
from segaware.tuning import gpu
from segaware.tuning.gpu import DTYPES, Precision

_CALLS, _ROUNDS = 10, 7


class Layer(NamedTuple):
    """A convolution with 3x3 windows over a square image."""

    name: str
    inputs: int
    outputs: int
    side: int
    dilation: int


LAYERS = (
    Layer("conv1_2", 64, 64, 321, 1),
    Layer("conv2_2", 128, 128, 161, 1),
    Layer("conv3_3", 256, 256, 81, 1),
    Layer("conv5_3", 512, 512, 41, 2),
    Layer("fc6", 512, 1024, 41, 12),
)


def random_tensors(layer: Layer, batch: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return input, weight and mask of a layer, float32 and on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    input = torch.randn(batch, layer.inputs, layer.side, layer.side, generator=generator)
    weight = torch.randn(layer.outputs, layer.inputs, 3, 3, generator=generator) / (9 * layer.inputs) ** 0.5
    return input, weight, torch.rand(batch, 9, layer.side, layer.side, generator=generator)


def candidates(key: str, quick: bool = False) -> list[Tile]:
    """Return the tiles that are tried for a key: all whose accumulators fit the registers of their warps.

    If `quick`, the likeliest: those that fill these registers, and read long runs of channels.
    """
    has_forms = key.startswith(("forward ", "input gradient "))
    return [
        Tile(rows, columns, depth, warps, stages, masked)
        for rows in (64, 128, 256)
        for columns in (64, 128)
        for depth in (32, 64)
        for warps in (4, 8)
        for stages in (3, 4)
        for masked in (get_args(Masked) if has_forms else ("product",))
        if rows * columns // (32 * warps) <= 64
        and not (quick and (rows * columns // (32 * warps) < 64 or depth < 64 or stages > 3))
    ]


def tune(
    seed: int,
    out: Path,
    layers: Sequence[Layer] = LAYERS,
    batches: Sequence[int] = (1, 8, 32),
    precisions: Sequence[Precision] = ("bfloat16", "TF32"),
    tiles: Sequence[Tile] | None = None,
    quick: bool = False,
) -> Iterator[str]:
    """Find the fastest tile of every kernel of every layer; yield a line about each, and write them to a file.

    Args:
        seed: Of the inputs.
        out: The file. What it has of other layers is kept, if it was made on the same GPU with the same versions.
        layers: Convolutions to measure.
        batches: Numbers of images to measure each with.
        precisions: Of the products.
        tiles: What to try; `candidates` of each kernel if not given.
        quick: Whether these are the likeliest alone.

    Raises:
        ValueError: If no tile of those to try can run.
    """
    measured = {**provenance(), **gpu.facts(), "date": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    fastest = read_tiles(out, {name: measured[name] for name in tuned_for("")})
    found: set[str] = set()
    for layer in layers:
        for batch in batches:
            for precision in precisions:
                with gpu.computing_in(precision):
                    for step in _steps(layer, batch, precision, seed):
                        for key in _asked_for(step):
                            if key in found:  # a step computes what those before it do
                                continue
                            found.add(key)
                            fastest[key], took = _fastest(step, key, candidates(key, quick) if tiles is None else tiles)
                            write_json(out, {"measured": measured, "tiles": fastest})
                            yield f"{key}: {tuple(fastest[key])}, {1e3 * took:.4g} ms"


def _steps(layer: Layer, batch: int, precision: Precision, seed: int) -> Iterator[Callable[[], Any]]:
    """Yield a layer's forward pass, one with all gradients and one without the mask's, in channels-last on the GPU."""
    input, weight, mask = (x.to(gpu.DEVICE, DTYPES[precision]) for x in random_tensors(layer, batch, seed))
    input, weight = (x.to(memory_format=torch.channels_last) for x in (input, weight))
    tensors = [x.requires_grad_() for x in (input, weight, mask)]

    def run(mask: Tensor = mask) -> Tensor:
        return segaware_conv2d(input, weight, mask, padding="same", dilation=layer.dilation)

    gradient = torch.ones_like(run())
    yield torch.no_grad()(run)
    yield lambda: torch.autograd.grad(run(), tensors, gradient)
    yield lambda: torch.autograd.grad(run(mask.detach()), tensors[:2], gradient)


def _asked_for(step: Callable[[], Any]) -> list[str]:
    """Return the keys of all tiles that a call chooses."""
    from segaware.ops import _launch

    keys: list[str] = []
    real = _launch.tile_key

    def record(*size: Any) -> str:
        keys.append(real(*size))
        return keys[-1]

    with mock.patch.object(_launch, "tile_key", record):
        step()
    return list(dict.fromkeys(keys))


def _fastest(step: Callable[[], Any], key: str, tiles: Sequence[Tile]) -> tuple[Tile, float]:
    """Leave the fastest tile for a key in use, and return it and the time of a step with it."""
    times: dict[Tile, float] = {}
    in_use = tuned_tiles()
    for tile in tiles:
        in_use[key] = tile
        try:
            run = gpu.captured(step)
            gpu.clock(run, 1)
            times[tile] = statistics.median(gpu.clock(run, _CALLS)[0] for _ in range(_ROUNDS))
        except Exception:  # too much shared memory, or too many registers, for this card
            continue
    if not times:
        raise ValueError(f"no tile runs for {key}")
    best = min(times, key=lambda tile: times[tile])
    in_use[key] = best
    return best, times[best]
