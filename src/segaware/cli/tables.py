"""Results as tables and curves for a person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from segaware.experiments.evaluation import Scores
from segaware.viz import trimap_curve

NOTHING = "-"
_NARROWEST = 24  # characters of a method's title


def table_path(table: dict[str, Any]) -> str:
    """Return where a table's files belong below a folder of results, without their suffix."""
    return table["table"] if table.get("data") is None else f"{table['table']}/{table['data']}"


def table_cells(
    table: dict[str, Any], half_widths: Sequence[int], intervals: bool = True, boundary: bool = True
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows for the values of `segaware.experiments.table.run_table`, scores in percent.

    A column in which no row has a value is left out.

    Args:
        table: The values.
        half_widths: The trimap half-widths to show, those of them that the table has.
        intervals: Whether to show the intervals of the differences to the control.
        boundary: Whether to show the boundary IoU.
    """
    bands = [table["half_widths"].index(width) for width in half_widths if width in table["half_widths"]]
    headers = ["method", "paper", "mIoU", *(f"{table['half_widths'][band]} px" for band in bands)]
    headers += ["boundary", "ms", "peak MB"]
    rows = []
    for row in table["rows"]:
        scores = [
            (row["miou"], row["miou_difference"]),
            *((row["trimap_miou"][band], row["trimap_miou_difference"][band]) for band in bands),
            (row.get("boundary_iou") if boundary else None, row.get("boundary_iou_difference")),
        ]
        is_control = row["recipe"] == table["control"]
        rows.append(
            [
                row["title"],
                number(row.get("published"), 2),
                *(_cell(*score, is_control, intervals) for score in scores),
                number(row["milliseconds"], 0),
                number(row.get("peak_mb"), 0),
            ]
        )
    kept = [column for column in range(len(headers)) if any(row[column] != NOTHING for row in rows)]
    return [headers[column] for column in kept], [[row[column] for column in kept] for row in rows]


def number(value: float | None, digits: int) -> str:
    """Return a number, or what stands for none."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _cell(score: float | None, difference: dict[str, float | None] | None, is_control: bool, interval: bool) -> str:
    if score is None or difference is None:
        return NOTHING
    return scored(score, difference, 100, 1, is_control, interval)


def scored(
    score: float, difference: dict[str, float | None], factor: float, digits: int, is_control: bool, interval: bool
) -> str:
    """Return a score, with its difference to the control in brackets as far as there is one."""
    shown = f"{factor * score:.{digits}f}"
    change, *ends = (difference[key] for key in ("difference", "low", "high"))
    if is_control or change is None:
        return shown
    signed = [NOTHING if end is None else f"{factor * end:+.{digits}f}" for end in ends]
    return f"{shown} ({factor * change:+.{digits}f}{' [' + ', '.join(signed) + ']' if interval else ''})"


def scores_cells(scores: Scores) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return the scores of one recipe as JSON-like values, and header and cells of a table, in percent."""
    trimap = dict(zip(scores.half_widths, scores.trimap_miou, strict=True))
    values = {
        "images": len(scores.names),
        "miou": scores.miou,
        "trimap_miou": trimap,
        "boundary_iou": scores.boundary_iou,
        "milliseconds": scores.milliseconds,
    }
    percent = [number(100 * v, 2) for v in (scores.miou, *trimap.values(), scores.boundary_iou)]
    headers = ["mIoU", *(f"{width} px" for width in trimap), "boundary", "ms"]
    return values, headers, [*percent, f"{scores.milliseconds:.0f}"]


def draw_trimap(table: dict[str, Any], path: Path) -> None:
    """Plot mean IoU against the half-width of the trimap, and its difference to the control, into a PNG file."""
    rows = {row["recipe"]: row for row in table["rows"]}
    shown = [rows[name] for name in table.get("figure", rows)]
    curves = {row["title"]: row["trimap_miou"] for row in shown}
    differences = {
        row["title"]: [(d["difference"], d["low"], d["high"]) for d in row["trimap_miou_difference"]] for row in shown
    }
    trimap_curve(curves, table["half_widths"], path, differences)


def drawn(value: float | None) -> float:
    """Return a value of a table as a figure takes it: nan for what there is none."""
    return math.nan if value is None else value


def drawn_interval(difference: dict[str, float | None]) -> tuple[float, float, float]:
    """Return a difference and the ends of its interval as a figure takes them."""
    return drawn(difference["difference"]), drawn(difference["low"]), drawn(difference["high"])


def show(console: Console, title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; of its columns only the first is wrapped."""
    view = Table(title=title)
    for i, header in enumerate(headers):
        view.add_column(header, justify="right" if i else "left", no_wrap=i > 0)
    for row in rows:
        view.add_row(*row)
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    widths[0] = min(widths[0], _NARROWEST)
    # Where rich would squeeze columns until they are gone, the terminal shall wrap lines.
    console.width = max(console.width, 1 + sum(3 + width for width in widths))
    console.print(view)
