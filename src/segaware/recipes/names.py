"""Names of recipes, and the run folders that they stand for."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath

SUFFIXES = (".yaml", ".yml")  # of a recipe file; what ends otherwise is a name, and never a path
CACHE = "cache"  # beside the folders of the recipes: scores of images, see `segaware.experiments.cached`


def run_name(name: str) -> str:
    """Return the run folder of the recipe `name`, or of the recipe file of that path, below the folder of all runs.

    Raises:
        ValueError: If it would not be below it, or be the cache.

    Example:
        >>> run_name("demo/baseline"), run_name("/home/me/mine.yaml")
        ('demo/baseline', 'mine')
    """
    inner = Path(name).stem if name.endswith(SUFFIXES) else name
    parts = re.split(r"[/\\]", inner)
    if {"", ".", ".."} & set(parts) or PureWindowsPath(inner).drive or parts[0] == CACHE:
        raise ValueError(
            f"{name!r} is neither a name of a recipe nor a recipe file whose run could be kept by its name"
        )
    return inner


def table_path(name: str, data: str | None) -> str:
    """Return where the files of a table, and of the data set that it was measured on, belong below a results folder."""
    return run_name(name) if data is None else f"{run_name(name)}/{data}"
