"""Results as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def table_cells(
    table: dict[str, Any], half_widths: Sequence[int], intervals: bool = True
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows for the values of `segaware.recipes.table.run_table`, in percent.

    Args:
        table: The values.
        half_widths: The trimap half-widths to show, those of them that the table has.
        intervals: Whether to show the intervals of the differences to the control.
    """
    columns = [table["half_widths"].index(width) for width in half_widths if width in table["half_widths"]]
    headers = ["method", "mIoU", *(f"{table['half_widths'][column]} px" for column in columns), "ms"]
    rows = []
    for row in table["rows"]:
        is_control = row["recipe"] == table["control"]
        cells = [row["title"], _cell(row["miou"], row["miou_difference"], is_control, intervals)]
        for column in columns:
            difference = row["trimap_miou_difference"][column]
            cells.append(_cell(row["trimap_miou"][column], difference, is_control, intervals))
        rows.append([*cells, f"{row['milliseconds']:.0f}"])
    return headers, rows


def _cell(miou: float, difference: dict[str, float], is_control: bool, interval: bool) -> str:
    value, change, low, high = (100 * v for v in (miou, *(difference[key] for key in ("difference", "low", "high"))))
    if is_control:
        return f"{value:.1f}"
    return f"{value:.1f} ({change:+.1f} [{low:+.1f}, {high:+.1f}])" if interval else f"{value:.1f} ({change:+.1f})"


def show(console: Console, title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    view = Table(title=title)
    for i, header in enumerate(headers):
        view.add_column(header, justify="right" if i else "left", no_wrap=i > 0)
    for row in rows:
        view.add_row(*row)
    console.print(view)
