"""A table over several seeds: two trainings of one network may differ by more than what is compared."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from segaware.experiments.table import run_table
from segaware.experiments.tasks import task_of
from segaware.experiments.workspace import Workspace
from segaware.provenance import provenance
from segaware.recipes.files import RecipeError, choose_data, load_recipe, load_table
from segaware.strict_json import finite
from segaware.training import ONE_DEVICE, Devices

_BY_SEED = ("seed", "hardness", "steps", "seconds", "trained")  # and what its task says


def run_seeds(
    name: str,
    seeds: Sequence[int],
    workspace: Workspace,
    overrides: Sequence[str] = (),
    costs: bool = True,
    devices: Devices = ONE_DEVICE,
) -> dict[str, Any]:
    """Run a table once for every seed, and compare its rows with the control over seeds and images.

    Args:
        name: Name of the table.
        seeds: Two or more seeds.
        workspace: Its runs have a folder per seed, each as `run_table` has its own.
        overrides: As for `run_table`.
        costs: As for `run_table`.
        devices: As for `run_table`.

    Returns:
        What `run_table` returns, with means over the seeds, intervals by paired bootstrap over images and seeds, the
        "seeds", and in every row what each of them gave ("by_seed").

    Raises:
        RecipeError: As `run_table`, or if its task cannot be compared over seeds, or there are too few seeds.
    """
    if len(set(seeds)) < 2 or len(set(seeds)) < len(seeds):
        raise RecipeError(f"seeds must be two or more different ones, got {list(seeds)}")
    data, _ = choose_data(name, overrides)
    table = load_table(name)
    task = task_of(load_recipe(table.control, data=data))
    if not task.by_seed or task.scores_type is None:
        raise RecipeError(f"{name} is a table of {task.name}, which is not compared over seeds")
    workspaces = [workspace.below(f"seed{seed}") for seed in seeds]
    tables = [
        run_table(name, own, [*overrides, f"seed={seed}"], costs, devices)
        for own, seed in zip(workspaces, seeds, strict=True)
    ]
    scores = {row: [task.scores_type.load(own.below(data).scores(row)) for own in workspaces] for row in table.rows}
    rows = []
    for row, *by_seed in zip(table.rows, *(values["rows"] for values in tables), strict=True):
        compared = task.row(load_recipe(row, data=data), scores[row], scores[table.control], {})
        rows.append(_row(by_seed, list(seeds), compared, task.by_seed))
    interval = tables[0]["interval"].replace("over images", "over images and seeds")
    values = {**tables[0], "seeds": list(seeds), "interval": interval, "measured": provenance(), "rows": rows}
    result: dict[str, Any] = finite(values)
    return result


def _row(
    rows: Sequence[dict[str, Any]], seeds: list[int], compared: dict[str, Any], kept: Sequence[str]
) -> dict[str, Any]:
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    return {
        **rows[0],
        **compared,
        "milliseconds": statistics.median(row["milliseconds"] for row in rows),
        "seed": seeds,
        "seconds": statistics.fmean(seconds) if seconds else None,
        "hardness": {key: statistics.fmean(row["hardness"][key] for row in rows) for key in rows[0]["hardness"]},
        "by_seed": [{key: row[key] for key in (*_BY_SEED, *kept)} for row in rows],
    }
