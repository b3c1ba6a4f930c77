"""Tables and curves of optical flow for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segaware.experiments.tasks.cells import NOTHING, drawn, drawn_interval, number, scored
from segaware.experiments.tasks.flow.scores import FlowScores
from segaware.viz import boundary_curve, displacement_histogram

_FIRST_BAND = 3  # in a row's errors, after end-point error, angular error and Fl


def flow_scores_cells(scores: FlowScores) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return the errors of one recipe as JSON-like values, and header and cells of a table."""
    end_point, angular, outliers, *bands = scores.errors
    headers = ["error [px]", *_bands(scores.distances), "angle [deg]", "Fl [%]", "ms"]
    values = {
        "images": len(scores.names),
        "end_point_error": end_point,
        "end_point_error_by_distance": dict(zip(_bands(scores.distances), bands, strict=True)),
        "angular_error": angular,
        "fl": outliers,
        "milliseconds": scores.milliseconds,
    }
    cells = [number(v, 2) for v in (end_point, *bands, angular, 100 * outliers)]
    return values, headers, [*cells, f"{scores.milliseconds:.0f}"]


def flow_cells(table: dict[str, Any], intervals: bool = True) -> tuple[list[str], list[list[str]]]:
    """Return header and rows for the values of a flow table: pixels, degrees and percent.

    Args:
        table: The values of `segaware.experiments.table.run_table`.
        intervals: Whether to show the intervals of the differences to the control.
    """
    bands = _bands(table["distances"])
    headers = ["method", "paper", "error [px]", *bands, "angle [deg]", "Fl [%]", "ms", "peak MB"]
    order = [0, *range(_FIRST_BAND, _FIRST_BAND + len(bands)), 1, 2]
    rows = []
    for row in table["rows"]:
        is_control = row["recipe"] == table["control"]
        cells = [
            scored(row["errors"][i], row["differences"][i], 100 if i == 2 else 1, 2, is_control, intervals)
            for i in order
        ]
        rows.append(
            [
                row["title"],
                _published(row["published"], row["published_angle"]),
                *cells,
                number(row["milliseconds"], 0),
                number(row["peak_mb"], 0),
            ]
        )
    for line in table["published"]:
        blank = [NOTHING] * (len(headers) - 2)
        rows.append([f"{line['title']} (published)", _published(line["error"], line["angle"]), *blank])
    return headers, rows


def other_cells(table: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows for the scores on other data sets: end-point errors, and the angular error after a slash.

    There are no rows if no other data set was there.
    """
    others = table["rows"][0]["also"]
    headers = ["method", *(f"{name}, {len(scores['pairs'])} pairs" for name, scores in others.items())]

    def cell(scores: dict[str, Any]) -> str:
        return f"{number(scores['end_point_error'], 2)} / {number(scores['angular_error'], 1)}"

    rows = [[row["title"], *map(cell, row["also"].values())] for row in table["rows"]]
    return headers, rows if others else []


def draw_errors(table: dict[str, Any], path: Path) -> None:
    """Plot end-point errors by distance to a motion boundary, and their differences to the control, into a PNG file."""
    rows = {row["recipe"]: row for row in table["rows"]}
    shown = [rows[name] for name in table["figure"]]
    order = [*range(_FIRST_BAND, len(shown[0]["errors"])), 0]
    curves = {row["title"]: [drawn(row["errors"][i]) for i in order] for row in shown}
    differences = {row["title"]: [drawn_interval(row["differences"][i]) for i in order] for row in shown}
    boundary_curve(curves, table["distances"], path, differences)


def draw_displacements(table: dict[str, Any], path: Path) -> None:
    """Plot how far the pixels of the data sets move into a PNG file."""
    shares = {name: [n / sum(counts) for n in counts] for name, counts in table["displacements"].items()}
    displacement_histogram(shares, [*table["displacement_edges"], math.inf], path)


def _bands(distances: Sequence[int]) -> list[str]:
    return [*(f"{distance} px" for distance in distances), f"> {distances[-1]} px"]


def _published(error: float | None, angle: float | None) -> str:
    numbers = [f"{value:.2f}" for value in (error, angle) if value is not None]
    return " / ".join(numbers) or NOTHING
