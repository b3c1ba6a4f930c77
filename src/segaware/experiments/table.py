"""Comparing recipes: train what is missing, score every row, and set the scores beside the control's."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from segaware.experiments.build import open_data
from segaware.experiments.cost import measure_cost
from segaware.experiments.evaluation import Scores, evaluate
from segaware.experiments.flow_rows import flow_rows
from segaware.experiments.rows import interval_values, trained_row, unscored
from segaware.experiments.run import load_network, train
from segaware.experiments.start import SHIPPED, check_start, find_imagenet
from segaware.experiments.trained import CACHE, run_folder, weights_path
from segaware.metrics import mean_boundary_iou, mean_iou, paired_bootstrap
from segaware.progress import Overall
from segaware.provenance import provenance
from segaware.recipes.files import RecipeError, choose_data, has_key, load_recipe, load_table
from segaware.recipes.schema import EmbeddingRecipe, FlowRecipe, Recipe, SegmentationRecipe, Table
from segaware.strict_json import finite


def run_table(
    name: str, runs: Path, root: Path | None, overrides: Sequence[str] = (), costs: bool = True
) -> dict[str, Any]:
    """Train and score all recipes of a table; what was finished before is not run again.

    Args:
        name: Name of the table.
        runs: Folder that holds a folder per recipe; if the table has data sets, a folder for each of them, with a
            folder per recipe.
        root: Folder that holds the data sets.
        overrides: "data=KEY", the choice among the table's data sets, the first if not given; and changes such as
            "train.epochs=3", to all recipes that have the key.
        costs: Whether to measure time and memory of every row in a process of its own. Otherwise the time is that of
            scoring, and there is no memory.

    Returns:
        The table as JSON-like values, None for what could not be measured: where it comes from, and per row the
        paper's number, mean IoU, trimap IoU, boundary IoU, the differences of these to the control with their 95 %
        intervals by paired bootstrap over images, time per image, memory and budget. For optical flow, errors as
        `flow_rows` says instead.

    Raises:
        RecipeError: If an override fits no recipe, a row trains embeddings, or a folder holds another training.
        DataError: If files of a data set that is still needed are missing.
    """
    table = load_table(name)
    data, others = choose_data(name, overrides)
    runs = runs if data is None else runs / data
    recipes = _recipes(table, data, others)
    unfinished = [name for name in recipes if not weights_path(runs, name).is_file()]
    for recipe_name in unfinished:
        _check_files(recipes[recipe_name], root)
    overall = Overall("training", {name: _work(recipes[name], root) for name in unfinished})
    for recipe_name, recipe in recipes.items():
        if recipe_name in unfinished:
            overall.begin(recipe_name, recipe.title)
        train(recipe_name, recipe, runs, root)
    if isinstance(recipes[table.control], FlowRecipe):
        largest, measured = flow_rows(table, recipes, runs, root)
    else:
        largest, measured = _rows(table, recipes, runs, root, share=costs)
    overall = Overall("measuring", dict.fromkeys(table.rows, 1.0))
    for values in measured["rows"]:
        values |= trained_row(values["recipe"], recipes[values["recipe"]], runs)
        if costs:
            overall.begin(values["recipe"], values["title"])
            cost = measure_cost(run_folder(runs, values["recipe"]), largest, root)
            values |= {key: cost[key] for key in ("milliseconds", "peak_mb")}
    values = {
        "table": name,
        "data": data,
        "title": table.title,
        "about": table.about if data is None else f"{table.about} {table.data[data].about}",
        "control": table.control,
        "figure": list(table.figure or table.rows),
        "interval": "95 %, paired bootstrap over images, 2000 draws, seed 0",
        "measured": provenance(),
        **measured,
    }
    result: dict[str, Any] = finite(values)  # a small set may have no pixel to score, or a draw of it none
    return result


def _recipes(table: Table, data: str | None, overrides: Sequence[str]) -> dict[str, Recipe]:
    """Return the recipes and all that they start from, each after its own start."""
    recipes: dict[str, Recipe] = {}

    def add(name: str) -> None:
        if name in recipes:
            return
        recipe = load_recipe(name, data=data)
        recipe = load_recipe(name, [override for override in overrides if has_key(recipe, override)], data)
        for start in (getattr(recipe.start, "model", None), getattr(recipe.start, "embedding", None)):
            if start not in (None, SHIPPED):
                add(start)
        recipes[name] = recipe

    for row in table.rows:
        add(row)
        if isinstance(recipes[row], EmbeddingRecipe):
            raise RecipeError(f"a table compares what predicts; {row} trains embeddings")
        if isinstance(recipes[row], FlowRecipe) != isinstance(recipes[table.rows[0]], FlowRecipe):
            raise RecipeError(f"a table compares like with like; of {table.rows[0]} and {row} one is of flow")
    if table.control not in table.rows:
        raise RecipeError(f"the control of a table is one of its rows; {table.control} is none")
    for override in overrides:
        if not any(has_key(recipe, override) for recipe in recipes.values()):
            load_recipe(table.control, [override], data)  # says what is wrong with it
    return recipes


def _check_files(recipe: Recipe, root: Path | None) -> None:
    """Find out what is missing for a training before the trainings that come before it."""
    check_start(recipe)
    find_imagenet(recipe, root)
    if recipe.train is not None:
        open_data(recipe, "train", root)
    open_data(recipe, "val", root)


def _work(recipe: Recipe, root: Path | None) -> float:
    """Return how many pixels a training sees, for an estimate of its time."""
    if recipe.train is None:
        return 0.0
    batches = len(open_data(recipe, "train", root)) // recipe.data.batch_size  # type: ignore[arg-type]
    steps = min(recipe.train.epochs * batches, recipe.train.steps or sys.maxsize)
    return float(steps * recipe.data.batch_size * math.prod(recipe.data.crop))


def _scores(name: str, recipe: Recipe, runs: Path, root: Path | None, cache: Path | None, overall: Overall) -> Scores:
    path, weights = run_folder(runs, name) / "scores.npz", weights_path(runs, name)
    if name in overall.work:
        overall.begin(name, recipe.title)
        network, _ = load_network(name, recipe, weights)
        evaluate(recipe, network, root, cache).save(path)
    return Scores.load(path)


def _rows(
    table: Table, recipes: dict[str, Recipe], runs: Path, root: Path | None, share: bool
) -> tuple[int, dict[str, Any]]:
    """Score rows of segmentation; return the index of a largest image, and what the table says of the rows."""
    # Times of rows that share scores would not be their own, so without costs nothing is shared.
    cache = runs / CACHE if share else None
    overall = unscored(table, runs)
    scores = {row: _scores(row, recipes[row], runs, root, cache, overall) for row in table.rows}
    control = scores[table.control]
    return control.largest, {
        "images": len(control.names),
        "half_widths": list(control.half_widths),
        "rows": [_row(row, recipes[row], scores[row], control) for row in table.rows],
    }


def _row(name: str, recipe: Recipe, scores: Scores, control: Scores) -> dict[str, Any]:
    assert isinstance(recipe, SegmentationRecipe)
    return {
        "recipe": name,
        "title": recipe.title,
        "published": recipe.published,
        "peak_mb": None,
        **compared_with([control], [scores]),
    }


def compared_with(controls: Sequence[Scores], scores: Sequence[Scores]) -> dict[str, Any]:
    """Return scores, of every seed, as a row of a table has them: means, and differences to the control's."""

    def difference(
        counts: Callable[[Scores], Tensor], statistic: Callable[[Tensor], Tensor] = mean_iou
    ) -> dict[str, float]:
        ours, theirs = ([counts(one) for one in several] for several in (scores, controls))
        return interval_values(paired_bootstrap(ours, theirs, statistic))

    bands = range(len(scores[0].half_widths))
    return {
        "miou": fmean(one.miou for one in scores),
        "trimap_miou": [fmean(one.trimap_miou[band] for one in scores) for band in bands],
        "boundary_iou": fmean(one.boundary_iou for one in scores),
        "miou_difference": difference(lambda one: one.confusion),
        "trimap_miou_difference": [difference(partial(_band, band)) for band in bands],
        "boundary_iou_difference": difference(lambda one: one.boundary, mean_boundary_iou),
        "milliseconds": fmean(one.milliseconds for one in scores),
    }


def _band(band: int, scores: Scores) -> Tensor:
    return scores.trimap[:, band]
