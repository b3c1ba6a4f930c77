"""A table over several seeds: two trainings of one network may differ by more than what is compared."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segaware.experiments.evaluation import Scores
from segaware.experiments.table import compared_with, run_table
from segaware.experiments.trained import run_folder
from segaware.provenance import provenance
from segaware.recipes.files import RecipeError, choose_data, load_recipe, load_table
from segaware.recipes.schema import SegmentationRecipe
from segaware.strict_json import finite

_BY_SEED = ("seed", "miou", "trimap_miou", "boundary_iou", "miou_difference", "hardness", "steps", "seconds", "trained")


def run_seeds(
    name: str, seeds: Sequence[int], runs: Path, root: Path | None, overrides: Sequence[str] = (), costs: bool = True
) -> dict[str, Any]:
    """Run a table once for every seed, and compare its rows with the control over seeds and images.

    Args:
        name: Name of the table, of segmentations.
        seeds: Two or more seeds.
        runs: Folder that holds a folder per seed, each as `run_table` has its own.
        root: Folder that holds the data sets.
        overrides: As for `run_table`.
        costs: As for `run_table`.

    Returns:
        What `run_table` returns, with means over the seeds, intervals by paired bootstrap over images and seeds, the
        "seeds", and in every row what each of them gave ("by_seed").

    Raises:
        RecipeError: As `run_table`, or if it is a table of optical flow, or there are too few seeds.
    """
    if len(set(seeds)) < 2 or len(set(seeds)) < len(seeds):
        raise RecipeError(f"seeds must be two or more different ones, got {list(seeds)}")
    data, _ = choose_data(name, overrides)
    if not isinstance(load_recipe(load_table(name).control, data=data), SegmentationRecipe):
        raise RecipeError(f"{name} is a table of optical flow, which is not compared over seeds")
    folders = [runs / f"seed{seed}" for seed in seeds]
    tables = [
        run_table(name, folder, root, [*overrides, f"seed={seed}"], costs)
        for folder, seed in zip(folders, seeds, strict=True)
    ]
    scores = {
        row["recipe"]: [
            Scores.load(run_folder(folder if data is None else folder / data, row["recipe"]) / "scores.npz")
            for folder in folders
        ]
        for row in tables[0]["rows"]
    }
    rows = [
        _row(rows, list(seeds), compared_with(scores[tables[0]["control"]], scores[rows[0]["recipe"]]))
        for rows in zip(*(table["rows"] for table in tables), strict=True)
    ]
    interval = tables[0]["interval"].replace("over images", "over images and seeds")
    values = {**tables[0], "seeds": list(seeds), "interval": interval, "measured": provenance(), "rows": rows}
    result: dict[str, Any] = finite(values)
    return result


def _row(rows: Sequence[dict[str, Any]], seeds: list[int], compared: dict[str, Any]) -> dict[str, Any]:
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    return {
        **rows[0],
        **compared,
        "milliseconds": statistics.median(row["milliseconds"] for row in rows),
        "seed": seeds,
        "seconds": statistics.fmean(seconds) if seconds else None,
        "hardness": {key: statistics.fmean(row["hardness"][key] for row in rows) for key in rows[0]["hardness"]},
        "by_seed": [{key: row[key] for key in _BY_SEED} for row in rows],
    }
