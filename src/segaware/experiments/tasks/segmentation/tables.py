"""Tables and curves of segmentation for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segaware.experiments.tasks.cells import NOTHING, number, scored
from segaware.experiments.tasks.segmentation.scores import SegmentationScores
from segaware.viz import trimap_curve


def table_cells(
    table: dict[str, Any], half_widths: Sequence[int] = (1, 3, 10), intervals: bool = True, boundary: bool = True
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
                *(scored(*score, 100, 1, is_control, intervals) for score in scores),
                number(row["milliseconds"], 0),
                number(row.get("peak_mb"), 0),
            ]
        )
    kept = [column for column in range(len(headers)) if any(row[column] != NOTHING for row in rows)]
    return [headers[column] for column in kept], [[row[column] for column in kept] for row in rows]


def scores_cells(scores: SegmentationScores) -> tuple[dict[str, Any], list[str], list[str]]:
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
