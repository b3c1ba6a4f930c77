"""How well embeddings tell regions apart, by distance, as a line plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from segaware.viz.curves import line_styles
from segaware.viz.plots import check_plot_path, new_figure, style_axes, write_plot

Curves = Mapping[str, Sequence[float | None]]


def separability_curves(
    title: str, panels: Mapping[str, tuple[Sequence[int], Curves]], path: Path, chance: float = 0.5
) -> None:
    """Plot areas under the ROC curve against distances, one panel per kind of distance, and write them to a file.

    Args:
        title: What stands above the panels.
        panels: Per label of a horizontal axis, the distances in pixels, positive and ascending, and the areas of each
            embedding there, 0 to 1; None, where there are no pairs, is not drawn. All panels have the same embeddings.
        path: File to write; its suffix, .png or .svg, decides the format.
        chance: The area of an embedding that tells nothing, drawn as a dotted line.

    Raises:
        ValueError: Another suffix, no panels, unsorted distances, or areas of another number or range.
    """
    check_plot_path(path)
    _check(panels)
    figure = new_figure(len(panels))
    every = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (xlabel, (distances, curves)) in zip(every, panels.items(), strict=True):
        axes.axhline(chance, color="0.5", linestyle=":", linewidth=1.5, label="chance")
        for style, (name, areas) in zip(line_styles(), curves.items(), strict=False):
            axes.plot(distances, [math.nan if area is None else area for area in areas], label=name, **style)
        axes.set_xscale("log")
        axes.set_xticks(distances, [str(distance) for distance in distances])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(xlabel)
        axes.tick_params(labelleft=True)
    every[0].set_ylabel("area under the ROC curve")
    style_axes(every)
    figure.suptitle(title)
    handles, labels = every[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=4)
    write_plot(figure, path)


def _check(panels: Mapping[str, tuple[Sequence[int], Curves]]) -> None:
    if not panels:
        raise ValueError("want at least one panel, got none")
    for distances, curves in panels.values():
        if not distances or distances[0] <= 0 or not all(a < b for a, b in pairwise(distances)):
            raise ValueError(f"distances must be positive and ascending, got {list(distances)}")
        for name, areas in curves.items():
            if len(areas) != len(distances):
                raise ValueError(f"curve {name!r} must have {len(distances)} areas, got {len(areas)}")
            if not all(area is None or 0 <= area <= 1 for area in areas):
                raise ValueError(f"curve {name!r} must lie in 0..1, got {list(areas)}")
