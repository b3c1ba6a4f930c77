"""What the rows of all tables say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segaware.experiments.run import load_network
from segaware.experiments.trained import is_up_to_date, run_folder, weights_path
from segaware.metrics import Interval
from segaware.progress import Overall
from segaware.recipes.schema import Recipe, Table


def trained_row(name: str, recipe: Recipe, runs: Path) -> dict[str, Any]:
    """Return what a row says of its network and its training."""
    network, description = load_network(name, recipe, weights_path(runs, name))
    parameters = {key.removeprefix("refinement."): parameter for key, parameter in network.named_parameters()}
    return {
        "parameters": sum(p.numel() for p in parameters.values()),
        "hardness": {key: round(p.item(), 4) for key, p in parameters.items() if key.endswith("hardness")},
        "seed": recipe.seed,
        "steps": description["steps"],
        "seconds": description["seconds"],
        "trained": {key: description[key] for key in ("command", "commit", "torch", "machine")},
    }


def unscored(table: Table, runs: Path) -> Overall:
    """Return the progress of scoring those rows that have no scores of their weights yet."""
    files = {row: (run_folder(runs, row) / "scores.npz", weights_path(runs, row)) for row in table.rows}
    return Overall("scoring", {row: 1.0 for row, paths in files.items() if not is_up_to_date(*paths)})


def interval_values(interval: Interval) -> dict[str, float]:
    """Return an interval as it is written to JSON."""
    return {"difference": interval.difference, "low": interval.low, "high": interval.high}
