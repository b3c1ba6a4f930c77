"""Results as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def table_cells(table: dict[str, Any], half_widths: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows for the values of `segaware.recipes.table.run_table`, in percent.

    Args:
        table: The values.
        half_widths: The trimap half-widths to show.
    """
    headers = ["method", "mIoU", "vs. control"]
    columns = [table["half_widths"].index(width) for width in half_widths]
    for width in half_widths:
        headers += [f"{width} px", "vs. control"]
    headers.append("ms")
    rows = []
    for row in table["rows"]:
        is_control = row["recipe"] == table["control"]
        cells = [row["title"], f"{100 * row['miou']:.1f}", _difference(row["miou_difference"], is_control)]
        for column in columns:
            difference = _difference(row["trimap_miou_difference"][column], is_control)
            cells += [f"{100 * row['trimap_miou'][column]:.1f}", difference]
        rows.append([*cells, f"{row['milliseconds']:.0f}"])
    return headers, rows


def _difference(interval: dict[str, float], is_control: bool) -> str:
    if is_control:
        return "-"
    return f"{100 * interval['difference']:+.1f} [{100 * interval['low']:+.1f}, {100 * interval['high']:+.1f}]"


def show(console: Console, title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    view = Table(title=title)
    for i, header in enumerate(headers):
        view.add_column(header, justify="right" if i else "left")
    for row in rows:
        view.add_row(*row)
    console.print(view)
