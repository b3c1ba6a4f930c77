"""What line plots share: their look, and how they are written."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segaware.atomic import write_atomically


def new_figure(panels: int) -> Figure:
    """Return an empty figure for panels side by side. No pyplot: no display, no global state."""
    return Figure(figsize=(6.4 * panels, 4.8), dpi=150, layout="constrained")


def style_axes(panels: Iterable[Axes]) -> None:
    """Give panels a pale grid below the curves, and no frame above and to the right."""
    for axes in panels:
        axes.grid(color="0.88")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)


def check_plot_path(path: Path) -> None:
    """Raise a ValueError unless a plot can be written to a file of this suffix."""
    if Path(path).suffix.lower() not in (".png", ".svg"):
        raise ValueError(f"path must end in .png or .svg, got {path}")


def plot_bytes(figure: Figure, file_format: str = "png") -> bytes:
    """Return the content of the file of a figure."""
    content = io.BytesIO()
    figure.savefig(content, format=file_format)
    return content.getvalue()


def write_plot(figure: Figure, path: Path) -> None:
    """Write a figure to a .png or .svg file, whole or not at all."""
    write_atomically(path, plot_bytes(figure, Path(path).suffix[1:].lower()))
