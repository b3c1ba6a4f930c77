"""Searching the tiles of the matrix products once, for the layers of the benchmark, on the GPU at hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segaware.cli.bench.gpu import card
from segaware.cli.bench.gpu.card import Precision
from segaware.cli.bench.gpu.layers import contenders
from segaware.cli.bench.layers import LAYERS, Layer
from segaware.cli.bench.plan import Settings
from segaware.provenance import provenance, write_json

if TYPE_CHECKING:
    from segaware.ops._launch import Tile

_CALLS, _ROUNDS = 10, 7


def candidates() -> list[Tile]:
    """Return the tiles that are tried: all whose accumulators fit the registers of their warps."""
    from segaware.ops._launch import Tile

    return [
        Tile(rows, columns, depth, warps, stages)
        for rows in (64, 128, 256)
        for columns in (64, 128)
        for depth in (32, 64)
        for warps in (4, 8)
        for stages in (3, 4)
        if rows * columns // (32 * warps) <= 64
    ]


def tune(
    settings: Settings,
    out: Path,
    layers: Sequence[Layer] = LAYERS,
    batches: Sequence[int] = (1, 8, 32),
    precisions: Sequence[Precision] = ("bfloat16", "TF32"),
    tiles: Sequence[Tile] | None = None,
) -> Iterator[str]:
    """Find the fastest tile of every kernel of every layer; yield a line about each, and write them to a file.

    Raises:
        ValueError: If there is no GPU.
    """
    problem = card.problem()
    if problem is not None:
        raise ValueError(f"tiles cannot be tuned: {problem}")
    from segaware.ops import _launch

    measured = {**provenance(), **card.facts(), "date": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    for layer in layers:
        for batch in batches:
            for precision in precisions:
                with card.computing_in(precision):
                    runs = [contenders(settings, layer, batch, precision, backward) for backward in (False, True)]
                    steps = [run["segaware, channels_last"] for run in runs]
                    for key in _asked_for(steps):
                        step = steps[0] if key.startswith("forward ") else steps[1]
                        assert not isinstance(step, str)
                        best, took = _fastest(step, key, candidates() if tiles is None else tiles)
                        write_json(out, {"measured": measured, "tiles": _launch.TUNED})
                        yield f"{key}: {tuple(best)}, {1e3 * took:.4g} ms"


def _asked_for(steps: Sequence[Any]) -> list[str]:
    """Return the keys of all tiles that some calls choose."""
    from segaware.ops import _launch

    keys: list[str] = []
    real = _launch.tile_key

    def record(*size: Any) -> str:
        key = real(*size)
        if key not in keys:
            keys.append(key)
        return key

    _launch.tile_key = record  # type: ignore[assignment]
    try:
        for step in steps:
            step()
    finally:
        _launch.tile_key = real
    return keys


def _fastest(step: Callable[[], Any], key: str, tiles: Sequence[Tile]) -> tuple[Tile, float]:
    """Leave the fastest tile for a key in use, and return it and the time of a step with it."""
    from segaware.ops import _launch

    times: dict[Tile, float] = {}
    for tile in tiles:
        _launch.TUNED[key] = tile
        try:
            run = card.captured(step)
            assert not isinstance(run, str)
            card.clock(run, 1)
            times[tile] = statistics.median(card.clock(run, _CALLS)[0] for _ in range(_ROUNDS))
        except Exception:  # too much shared memory, or too many registers, for this card
            continue
    if not times:
        raise ValueError(f"no tile runs for {key}")
    best = min(times, key=lambda tile: times[tile])
    _launch.TUNED[key] = best
    return best, times[best]
