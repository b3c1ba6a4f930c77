"""Tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

_NARROWEST = 24  # characters of a method's title

console = Console()
console.width = max(console.width, 100)  # a table is unreadable below that; let a narrow terminal wrap its lines


def show(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
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
