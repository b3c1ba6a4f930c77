"""Tiles that were measured to be fastest: those that come with the package, and those that `segaware tune` found."""

from __future__ import annotations

import functools
import json
import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch

from segaware.cache_folder import cache_folder
from segaware.version import __version__

PACKAGED = Path(__file__).with_name("tiles.json")

_LOGGER = logging.getLogger("segaware")


# What a mask is multiplied with: a tap's product of matrices, or that product's left factor.
Masked: TypeAlias = Literal["product", "factor"]


class Tile(NamedTuple):
    """What one program computes: rows x columns of results, `depth` of what it sums at a time, and how it is run."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    masked: Masked = "product"


def tile_key(kernel: str, precision: str, images: int, rows: int, columns: int, depth: int) -> str:
    """Return what a tuned tile is listed by; the number of rows counts to the power of two below."""
    return f"{kernel} {precision}: 2^{max(images * rows, 1).bit_length() - 1} x {columns} x {depth}"


def tuned_tiles() -> dict[str, Tile]:
    """Return the tuned tiles of the GPU in use, by `tile_key`; without a GPU, those that come with the package."""
    return _tiles_of(torch.cuda.current_device() if torch.cuda.is_initialized() else None)


@functools.cache
def _tiles_of(device: int | None) -> dict[str, Tile]:
    tiles = read_tiles(PACKAGED, {})
    _LOGGER.debug("%d tuned tiles from %s", len(tiles), PACKAGED)
    if device is None:
        return tiles
    card = torch.cuda.get_device_name(device)
    try:
        path = tiles_path(card)
    except RuntimeError as error:  # no home folder
        _LOGGER.debug("no tuned tiles of the user: %s", error)
        return tiles
    own = read_tiles(path, tuned_for(card))
    _LOGGER.info("%d tuned tiles for %s from %s", len(own), card, path)
    return tiles | own


def tiles_path(card: str) -> Path:
    """Return the file of the user's tuned tiles for a GPU: machines with different ones may share a home folder."""
    return cache_folder() / f"tiles-{re.sub(r'[^A-Za-z0-9]+', '-', card)}.json"


def tuned_for(card: str) -> dict[str, str]:
    """Return what a file of tuned tiles must have been measured with to be used: other kernels want other tiles."""
    import triton

    return {"card": card, "segaware": __version__, "triton": triton.__version__}


def read_tiles(path: Path, measured: Mapping[str, str]) -> dict[str, Tile]:
    """Read tuned tiles.

    Args:
        path: A file with {"measured": facts, "tiles": {key: five numbers}}.
        measured: Facts that the file must state.

    Returns:
        The tiles by `tile_key`. None if there is no file; with a warning, none if it is damaged or states other facts.
    """
    try:
        values = json.loads(path.read_bytes())
        stated = {name: (values["measured"] or {}).get(name) for name in measured}
        tiles = {key: _checked(key, tile) for key, tile in values["tiles"].items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        _tell(path, f"it is damaged or cannot be read ({type(error).__name__}: {error})")
        return {}
    others = [f"{name} {stated[name]}, here {value}" for name, value in measured.items() if stated[name] != value]
    if others:
        _tell(path, f"it was made with {'; '.join(others)}")
        return {}
    return tiles


def _checked(key: str, values: Any) -> Tile:
    tile = Tile(*values)
    numbers = tile[:5]
    if not all(type(n) is int and n > 0 for n in numbers) or any(n & (n - 1) for n in numbers[:4]):
        raise ValueError(f"{key!r}: {values} is no tile")
    if tile.masked not in get_args(Masked):
        raise ValueError(f"{key!r}: {values} is no tile")
    return tile


def _tell(path: Path, problem: str) -> None:
    warnings.warn(f"{path} is not used: {problem}. `segaware tune` writes such a file anew", stacklevel=2)
