"""Comparing recipes: train what is missing, score every row, and set the scores beside the control's."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from segaware import ranks
from segaware.data import DataError, dataset
from segaware.experiments.build import open_data
from segaware.experiments.cost import measure_cost
from segaware.experiments.evaluation import evaluate
from segaware.experiments.run import load_network, train
from segaware.experiments.start import SHIPPED, check_start, find_imagenet, started_from
from segaware.experiments.tasks import ImageScores, task_of
from segaware.experiments.workspace import Workspace, is_up_to_date
from segaware.progress import Overall
from segaware.provenance import provenance
from segaware.recipes.files import RecipeError, choose_data, has_key, load_recipe, load_table
from segaware.recipes.names import run_name
from segaware.recipes.schema import Recipe, Table
from segaware.strict_json import finite
from segaware.training import ONE_DEVICE, Devices


def run_table(
    name: str,
    workspace: Workspace,
    overrides: Sequence[str] = (),
    costs: bool = True,
    devices: Devices = ONE_DEVICE,
) -> dict[str, Any]:
    """Train and score all recipes of a table; what was finished before is not run again.

    Args:
        name: Name of the table, or path of its YAML file.
        workspace: Where runs are, and where the data sets are; if the table has data sets, every one has a folder of
            runs.
        overrides: "data=KEY", the choice among the table's data sets, the first if not given; and changes such as
            "train.epochs=3", to all recipes that have the key.
        costs: Whether to measure time and memory of every row in a process of its own. Otherwise the time is that of
            scoring, and there is no memory.
        devices: What to train on; for several processes, call this in all of them, when they are `launched`.

    Returns:
        The table as JSON-like values, None for what could not be measured: where it comes from, and per row what its
        task's `row` says (scores, and their differences to the control with 95 % intervals by paired bootstrap over
        images), time per image, memory and budget. Files are named by their run folders.

    Raises:
        RecipeError: If an override fits no recipe, a row predicts nothing, or a folder holds another training.
        DataError: If files of a data set that is still needed are missing.
    """
    table = load_table(name)
    data, others = choose_data(name, overrides)
    workspace = workspace.below(data)
    recipes = _recipes(table, data, others)
    unfinished = ranks.once(lambda: [name for name in recipes if not workspace.weights(name).is_file()])
    for recipe_name in unfinished:
        _check_files(recipes[recipe_name], workspace.data_root)
    overall = Overall("training", {name: _work(recipes[name], workspace.data_root) for name in unfinished})
    for recipe_name, recipe in recipes.items():
        if recipe_name in unfinished:
            overall.begin(recipe_name, recipe.title)
        train(recipe_name, recipe, workspace, devices=devices)
    largest, measured = _rows(table, recipes, workspace, share=costs)
    overall = Overall("measuring", dict.fromkeys(table.rows, 1.0))
    for row, values in zip(table.rows, measured["rows"], strict=True):
        values |= _trained(row, recipes[row], workspace)
        if costs:
            overall.begin(row, values["title"])
            cost = ranks.once(partial(_cost, row, largest, recipes[row], workspace))
            values |= {key: cost[key] for key in ("milliseconds", "peak_mb")}
    values = {
        "table": run_name(name),
        "data": data,
        "task": task_of(recipes[table.control]).name,
        "title": table.title,
        "about": table.about if data is None else f"{table.about} {table.data[data].about}",
        "control": run_name(table.control),
        "figure": [run_name(row) for row in table.figure or table.rows],
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
        for start in started_from(recipe):
            if start not in (None, SHIPPED):
                add(start)
        recipes[name] = recipe

    for row in table.rows:
        add(row)
        task, first = task_of(recipes[row]), task_of(recipes[table.rows[0]])
        if task.scores_type is None:
            raise RecipeError(f"a table compares what predicts; {row}, of the {recipes[row].stage} stage, does not")
        if task.name != first.name:
            raise RecipeError(
                f"a table compares like with like; {table.rows[0]} is of {first.name}, {row} of {task.name}"
            )
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


def _cost(name: str, largest: int, recipe: Recipe, workspace: Workspace) -> dict[str, Any]:
    return measure_cost(workspace.folder(name), largest, task_of(recipe), workspace.data_root)


def _work(recipe: Recipe, root: Path | None) -> float:
    """Return how many pixels a training sees, for an estimate of its time."""
    if recipe.train is None:
        return 0.0
    batches = len(open_data(recipe, "train", root)) // recipe.data.batch_size  # type: ignore[arg-type]
    steps = min(recipe.train.epochs * batches, recipe.train.steps or sys.maxsize)
    return float(steps * recipe.data.batch_size * math.prod(recipe.data.crop))


def _rows(table: Table, recipes: dict[str, Recipe], workspace: Workspace, share: bool) -> tuple[int, dict[str, Any]]:
    """Score the rows, also on other data sets that are there; return the index of a largest sample, and the JSON."""
    control_recipe = recipes[table.control]
    task = task_of(control_recipe)
    others = [name for name in task.also(control_recipe) if _is_there(name, workspace.data_root)]
    unscored = ranks.once(
        lambda: {row: 1.0 for row in table.rows if not is_up_to_date(workspace.scores(row), workspace.weights(row))}
    )
    overall = Overall("scoring", unscored)
    scores = {}
    for row in table.rows:
        if row in unscored:
            overall.begin(row, recipes[row].title)
        scores[row] = _scores(row, recipes[row], workspace, others, share)
    control = scores[table.control][None]
    rows = [
        {
            "recipe": run_name(row),
            "title": recipes[row].title,
            "peak_mb": None,
            **task.row(recipes[row], [own[None]], [control], {name: own[name] for name in others}),
        }
        for row, own in scores.items()
    ]
    return control.largest, {
        "images": len(control.names),
        **task.table(control_recipe, scores[table.control]),
        "published": [line.model_dump() for line in table.published],
        "rows": rows,
    }


def _scores(
    name: str, recipe: Recipe, workspace: Workspace, others: Sequence[str], share: bool
) -> dict[str | None, ImageScores]:
    """Return the scores on the recipe's own data set, under None, and on others; they are kept in the run's folder.

    Times of rows that share what they compute would not be their own, so without costs nothing is shared.
    """
    scores_type = task_of(recipe).scores_type
    assert scores_type is not None
    weights, network = workspace.weights(name), None
    scores: dict[str | None, ImageScores] = {}
    for other in (None, *others):
        path = workspace.scores(name, other)
        if not ranks.once(partial(is_up_to_date, path, weights)):
            network = network or load_network(name, recipe, weights)[0]
            ranks.once(partial(evaluate(recipe, network, workspace, other, share).save, path))
        scores[other] = scores_type.load(path)
    return scores


def _is_there(name: str, data_root: Path | None) -> bool:
    try:
        dataset(name).open("val", data_root)
    except DataError:
        return False
    return True


def _trained(name: str, recipe: Recipe, workspace: Workspace) -> dict[str, Any]:
    """Return what a row says of its network and its training."""
    network, description = load_network(name, recipe, workspace.weights(name))
    parameters = {key.removeprefix("refinement."): parameter for key, parameter in network.named_parameters()}
    return {
        "parameters": sum(p.numel() for p in parameters.values()),
        "hardness": {key: round(p.item(), 4) for key, p in parameters.items() if key.endswith("hardness")},
        "seed": recipe.seed,
        "steps": description["steps"],
        "seconds": description["seconds"],
        "trained": {key: description[key] for key in ("command", "commit", "torch", "machine")},
    }
