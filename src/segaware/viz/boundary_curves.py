"""Errors of optical flow near motion boundaries, and how far pixels move, as line plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segaware.viz.curves import line_styles
from segaware.viz.plots import check_plot_path, new_figure, style_axes, write_plot

_Interval = tuple[float, float, float]

SPREAD = 0.5  # of the width between two categories, for the intervals of all methods
MAX_LABELS = 16  # on the axis of displacements


def boundary_curve(
    curves: Mapping[str, Sequence[float]],
    distances: Sequence[float],
    path: Path,
    differences: Mapping[str, Sequence[_Interval]] | None = None,
) -> None:
    """Plot the end-point error by distance to a motion boundary and write the plot to a file.

    Args:
        curves: name of each method and its mean end-point errors in pixels: within each distance, beyond the last,
            and of all pixels, so len(distances) + 2 numbers; nan, where there are no such pixels, is not drawn.
        distances: distances to the nearest motion boundary in pixels, strictly increasing.
        path: file to write; its suffix, .png or .svg, decides the format.
        differences: name of each method, in the order of `curves`, and for each of its errors the difference to a
            control with the low and high end of its interval, in pixels; drawn in a panel to the right.

    Raises:
        ValueError: another suffix, unsorted distances, no curves, a curve of another length or with negative errors,
            or differences of other methods.
    """
    check_plot_path(path)
    _require_ascending("distances", distances)
    _require_values("curve", curves, len(distances) + 2)
    for name, errors in curves.items():
        if any(error < 0 or math.isinf(error) for error in errors):
            raise ValueError(f"curve {name!r} must have errors of 0 or more, got {list(errors)}")
    if differences is not None:
        _require_differences(differences, curves)
    categories = [*(f"≤ {distance:g}" for distance in distances), f"> {distances[-1]:g}", "all"]
    panels = 1 if differences is None else 2
    figure = new_figure(panels)
    absolute, *relative = figure.subplots(1, panels, squeeze=False)[0]
    positions = range(len(categories))
    for style, (name, errors) in zip(line_styles(), curves.items(), strict=False):
        absolute.plot(positions[:-1], errors[:-1], label=name, **style)
        absolute.plot(positions[-1:], errors[-1:], **style)  # all pixels are no distance, so no line leads there
    absolute.set_ylim(bottom=0)
    absolute.set_ylabel("end-point error [px]")
    for axes in relative:
        axes.axhline(0, color="0.6", linewidth=1)
        for index, (style, intervals) in enumerate(zip(line_styles(), (differences or {}).values(), strict=False)):
            # Side by side, for intervals hide each other.
            shift = SPREAD * ((index + 0.5) / len(curves) - 0.5)
            difference, low, high = zip(*intervals, strict=True)
            axes.vlines([x + shift for x in positions], low, high, color=style["color"])
            axes.plot([x + shift for x in positions], difference, **style | {"linestyle": "none"})
        axes.set_ylabel("end-point error less that of the control [px]")
    for axes in (absolute, *relative):
        axes.set_xticks(positions, categories)
        axes.set_xlabel("distance to a motion boundary [px]")
    _finish(figure, (absolute, *relative), path)


def displacement_histogram(histograms: Mapping[str, Sequence[float]], edges: Sequence[float], path: Path) -> None:
    """Plot how far the pixels of each data set move and write the plot to a file.

    Every bin is drawn equally wide, whatever its edges. The axis of the shares is logarithmic, so the line of an empty
    bin runs below it.

    Args:
        histograms: name of each data set and the share of its pixels in each bin, 0 to 1.
        edges: edges of the bins in pixels, strictly increasing, one more than bins; the last may be infinite.
        path: file to write; its suffix, .png or .svg, decides the format.

    Raises:
        ValueError: another suffix, unsorted edges, no histograms, or one of another length or range.
    """
    check_plot_path(path)
    _require_ascending("edges", edges)
    _require_values("histogram", histograms, len(edges) - 1)
    for name, shares in histograms.items():
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"histogram {name!r} must lie in 0..1, got {list(shares)}")
    figure = new_figure(1)
    axes = figure.subplots()
    positions = range(len(edges))
    for style, (name, shares) in zip(line_styles(), histograms.items(), strict=False):
        axes.stairs(
            [100 * share for share in shares],
            positions,
            baseline=None,
            label=name,
            color=style["color"],
            linestyle=style["linestyle"],
            linewidth=1.5,
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda percent, _: f"{percent:g}")
    axes.set_ylabel("share of pixels [%]")
    labels = ["∞" if math.isinf(edge) else f"{edge:g}" for edge in edges]
    every = math.ceil(len(edges) / MAX_LABELS)
    axes.set_xticks(positions[::every], labels[::every])
    axes.set_xlabel("displacement [px]")
    _finish(figure, [axes], path)


def _finish(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    """Give a figure its grid and legend, and write it."""
    style_axes(panels)
    # Above the panels it hides no curve.
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(panels) + 1, fontsize="small")
    write_plot(figure, path)


def _require_ascending(name: str, values: Sequence[float]) -> None:
    if not values or not values[0] >= 0 or not all(a < b for a, b in pairwise(values)):
        raise ValueError(f"{name} must be 0 or more and strictly increasing, got {list(values)}")


def _require_values(kind: str, curves: Mapping[str, Sequence[float]], length: int) -> None:
    if not curves:
        raise ValueError(f"want at least one {kind}, got none")
    for name, values in curves.items():
        if len(values) != length:
            raise ValueError(f"{kind} {name!r} must have {length} values, got {len(values)}")


def _require_differences(differences: Mapping[str, Sequence[_Interval]], curves: Mapping[str, Sequence[float]]) -> None:
    if list(differences) != list(curves):
        raise ValueError(f"differences must be of the methods {list(curves)}, got {list(differences)}")
    for name, intervals in differences.items():
        if len(intervals) != len(curves[name]):
            raise ValueError(f"differences of {name!r} must have {len(curves[name])} values, got {len(intervals)}")
        if any(low > high for _, low, high in intervals):
            raise ValueError(f"differences of {name!r} must have intervals from low to high, got {list(intervals)}")
