"""Scoring the rows of a table of optical flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from segaware.experiments.flow_evaluation import DISPLACEMENTS, FlowScores, evaluate_flow, evaluate_other, open_other
from segaware.experiments.rows import interval_values, unscored
from segaware.experiments.run import load_network
from segaware.experiments.trained import is_up_to_date, run_folder, weights_path
from segaware.metrics import mean_flow_errors, paired_bootstrap
from segaware.recipes.schema import FlowRecipe, Recipe, Table


def flow_rows(table: Table, recipes: dict[str, Recipe], runs: Path, root: Path | None) -> tuple[int, dict[str, Any]]:
    """Score the rows of a table, also on other data sets that are there.

    Returns:
        The index of a largest pair; and what the table says of the rows: mean errors over all pixels, per row `errors`
        (end-point error in pixels, angular error in degrees, share of outliers Fl, end-point error within each distance
        of a motion boundary and beyond the last), their differences to the control with intervals, and `also`, by name
        of another data set, the mean end-point and angular error and the end-point error of each of its pairs.
    """
    control_recipe = recipes[table.control]
    assert isinstance(control_recipe, FlowRecipe)
    others = [name for name in control_recipe.evaluation.also if open_other(name, root) is not None]
    overall = unscored(table, runs)
    scores = {}
    for row in table.rows:
        if row in overall.work:
            overall.begin(row, recipes[row].title)
        scores[row] = _scores(row, recipes[row], runs, root, others)
    own = {row: values[None] for row, values in scores.items()}
    control = own[table.control]
    first = scores[table.control]
    return control.largest, {
        "images": len(control.names),
        "distances": list(control.distances),
        "displacement_edges": list(DISPLACEMENTS),
        "displacements": {name or control_recipe.data.name: s.displacements.tolist() for name, s in first.items()},
        "published": [line.model_dump() for line in table.published],
        "rows": [
            _row(row, recipes[row], own[row], control, {name: scores[row][name] for name in others})
            for row in table.rows
        ],
    }


def _scores(
    name: str, recipe: Recipe, runs: Path, root: Path | None, others: list[str]
) -> dict[str | None, FlowScores]:
    """Return the scores on the recipe's own data set, under None, and on others; they are kept in the run's folder."""
    assert isinstance(recipe, FlowRecipe)
    weights, network = weights_path(runs, name), None
    scores: dict[str | None, FlowScores] = {}
    for other in (None, *others):
        path = run_folder(runs, name) / ("scores.npz" if other is None else f"scores_{other}.npz")
        if not is_up_to_date(path, weights):
            network = network or load_network(name, recipe, weights)[0]
            _evaluate(recipe, network, root, other).save(path)
        scores[other] = FlowScores.load(path)
    return scores


def _evaluate(recipe: FlowRecipe, network: nn.Module, root: Path | None, other: str | None) -> FlowScores:
    return evaluate_flow(recipe, network, root) if other is None else evaluate_other(recipe, network, root, other)


def _row(
    name: str, recipe: Recipe, scores: FlowScores, control: FlowScores, also: dict[str, FlowScores]
) -> dict[str, Any]:
    assert isinstance(recipe, FlowRecipe)
    return {
        "recipe": name,
        "title": recipe.title,
        "published": recipe.published,
        "published_angle": recipe.published_angle,
        "errors": scores.errors,
        "differences": [
            interval_values(paired_bootstrap(scores.sums[:, i], control.sums[:, i], mean_flow_errors))
            for i in range(scores.sums.shape[1])
        ],
        "also": {
            other: {
                "end_point_error": s.errors[0],
                "angular_error": s.errors[1],
                "pairs": {n: float(mean_flow_errors(sums[0])) for n, sums in zip(s.names, s.sums, strict=True)},
            }
            for other, s in also.items()
        },
        "milliseconds": scores.milliseconds,
        "peak_mb": None,
    }
