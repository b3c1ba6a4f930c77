"""Comparing recipes: train what is missing, score every row, and set the scores beside the control's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segaware.metrics import Interval, paired_bootstrap
from segaware.recipes.evaluation import Scores, evaluate
from segaware.recipes.files import RecipeError, load_recipe, load_table
from segaware.recipes.provenance import provenance
from segaware.recipes.run import load_network, run_folder, train, weights_path
from segaware.recipes.schema import SegmentationRecipe


def run_table(name: str, runs: Path, root: Path | None) -> dict[str, Any]:
    """Train and score all recipes of a table; what was finished before is not run again.

    Args:
        name: Name of the table.
        runs: Folder that holds a folder per recipe.
        root: Folder that holds the data sets.

    Returns:
        The table as JSON-like values: where it comes from, and per row mean IoU, trimap IoU, time per image, budget
        and the difference to the control with its 95 % interval by paired bootstrap over images.
    """
    table = load_table(name)
    for recipe in _in_order(table.rows):
        train(recipe, load_recipe(recipe), runs, root)
    scores = {row: _scores(row, runs, root) for row in table.rows}
    control = scores[table.control]
    return {
        "table": name,
        "title": table.title,
        "about": table.about,
        "images": len(control.names),
        "control": table.control,
        "half_widths": list(control.half_widths),
        "interval": "95 %, paired bootstrap over images, 2000 draws, seed 0",
        "measured": provenance(),
        "rows": [_row(row, scores[row], control, runs) for row in table.rows],
    }


def _in_order(rows: tuple[str, ...]) -> list[str]:
    """Return the recipes and all that they start from, each after its own start."""
    ordered: list[str] = []
    for row in rows:
        start = load_recipe(row).start
        before = (getattr(start, "model", None), getattr(start, "embedding", None))
        for recipe in [*_in_order(tuple(b for b in before if b is not None)), row]:
            if recipe not in ordered:
                ordered.append(recipe)
    return ordered


def _scores(name: str, runs: Path, root: Path | None) -> Scores:
    path = run_folder(runs, name) / "scores.npz"
    weights = weights_path(runs, name)
    if not path.is_file() or path.stat().st_mtime < weights.stat().st_mtime:
        recipe = load_recipe(name)
        network, _ = load_network(name, recipe, weights)
        evaluate(recipe, network, root).save(path)
    return Scores.load(path)


def _row(name: str, scores: Scores, control: Scores, runs: Path) -> dict[str, Any]:
    recipe = load_recipe(name)
    if not isinstance(recipe, SegmentationRecipe):
        raise RecipeError(f"a table compares segmentation recipes; {name} trains embeddings")
    network, description = load_network(name, recipe, weights_path(runs, name))
    parameters = dict(network.named_parameters())
    return {
        "recipe": name,
        "title": recipe.title,
        "miou": scores.miou,
        "trimap_miou": scores.trimap_miou,
        "miou_difference": _interval(paired_bootstrap(scores.confusion, control.confusion)),
        "trimap_miou_difference": [
            _interval(paired_bootstrap(scores.trimap[:, w], control.trimap[:, w]))
            for w in range(len(scores.half_widths))
        ],
        "milliseconds": scores.milliseconds,
        "parameters": sum(p.numel() for p in parameters.values()),
        "hardness": {key: round(p.item(), 4) for key, p in parameters.items() if key.endswith("hardness")},
        "seed": recipe.seed,
        "steps": description["steps"],
        "seconds": description["seconds"],
        "trained": {key: description[key] for key in ("command", "commit", "torch", "machine")},
    }


def _interval(interval: Interval) -> dict[str, float]:
    return {"difference": interval.difference, "low": interval.low, "high": interval.high}
