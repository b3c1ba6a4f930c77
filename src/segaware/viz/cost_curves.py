"""Time and memory against the size of the work, as a line plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure

from segaware.viz.plots import style_axes, write_plot

Curves = Mapping[str, Sequence[tuple[float, float]]]


def cost_curves(panels: Mapping[str, Curves], xlabel: str, path: Path) -> None:
    """Plot curves on logarithmic axes, one panel per quantity, and write them to a PNG file.

    Args:
        panels: Per label of a vertical axis, the points (x, y) of each curve by name.
        xlabel: Label of the horizontal axes.
        path: File to write.
    """
    figure = Figure(figsize=(5.2 * len(panels), 4.4), dpi=150, layout="constrained")
    for axes, (ylabel, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for (name, points), marker in zip(curves.items(), cycle("osD^v<>pX*"), strict=False):
            axes.loglog(*zip(*points, strict=True), marker=marker, markersize=5, label=name)
        ticks = sorted({x for points in curves.values() for x, _ in points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        style_axes([axes])
        axes.legend(frameon=False, fontsize="small")
    write_plot(figure, path)
