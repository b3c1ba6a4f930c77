"""Accuracy near object borders as a line plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from segaware.viz.plots import check_plot_path, new_figure, plot_bytes, style_axes, write_plot

Curves = Mapping[str, Sequence[float | None]]
Interval = tuple[float | None, float | None, float | None]


def trimap_curve(
    curves: Curves,
    half_widths: Sequence[int],
    path: Path,
    differences: Mapping[str, Sequence[Interval]] | None = None,
) -> None:
    """Plot mIoU against the half-width of the trimap and write the plot to a file.

    Args:
        curves: name of each method and its mIoU at each half-width, 0 to 1 as the metrics give it (drawn in percent);
            None where there are no pixels, which is not drawn.
        half_widths: half-widths of the band around object borders, pixels, positive and ascending.
        path: file to write; its suffix, .png or .svg, decides the format.
        differences: name of each method, in the order of `curves`, and at each half-width its difference to a control
            with the low and high end of its interval, -1 to 1; drawn in a panel to the right.

    Raises:
        ValueError: another suffix, no curves, a curve of another length or range, unsorted half-widths, or differences
            of other methods.
    """
    check_plot_path(path)
    write_plot(_draw(curves, half_widths, differences), path)


def curve_png(curves: Curves, half_widths: Sequence[int]) -> bytes:
    """Plot mIoU against the half-width of the trimap as in `trimap_curve`, for a report.

    Args:
        curves: name of each method and its mIoU at each half-width, 0 to 1 as the metrics give it (drawn in percent);
            None where there are no pixels, which is not drawn.
        half_widths: half-widths of the band around object borders, pixels, positive and ascending.

    Returns:
        The content of a PNG file.

    Raises:
        ValueError: no curves, a curve of another length or range, or unsorted half-widths.

    Example:
        >>> curve_png({"bilinear": [0.512, 0.680, 0.801]}, [1, 5, 20])[1:4]
        b'PNG'
    """
    return plot_bytes(_draw(curves, half_widths))


def _draw(
    curves: Curves, half_widths: Sequence[int], differences: Mapping[str, Sequence[Interval]] | None = None
) -> Figure:
    _require_curves(curves, half_widths)
    if differences is not None:
        _require_differences(differences, curves, half_widths)
    panels = 1 if differences is None else 2
    figure = new_figure(panels)
    absolute, *relative = figure.subplots(1, panels, squeeze=False)[0]
    for style, (name, values) in zip(line_styles(), curves.items(), strict=False):
        absolute.plot(half_widths, _percent(values), label=name, **style)
    absolute.set_ylabel("mIoU [%]")
    for axes in relative:
        for style, intervals in zip(line_styles(), (differences or {}).values(), strict=False):
            difference, low, high = (_percent(values) for values in zip(*intervals, strict=True))
            axes.plot(half_widths, difference, **style)
            axes.fill_between(half_widths, low, high, color=style["color"], alpha=0.2, linewidth=0)
        axes.set_ylabel("mIoU less that of the control [points]")
    for axes in (absolute, *relative):
        axes.set_xscale("log")
        axes.set_xticks(half_widths, _tick_labels(half_widths))
        axes.set_xticks([], minor=True)
        axes.set_xlabel("trimap half-width [px]")
    style_axes((absolute, *relative))
    if relative:
        figure.legend(frameon=False, loc="outside upper center", ncols=3, fontsize="small")
    else:
        absolute.legend(
            frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize="small"
        )  # hides no curve
    return figure


def line_styles() -> Iterator[dict[str, Any]]:
    """Twenty styles, so that more rows than there are colours can be told apart."""
    colors = [f"C{i}" for i in range(10)]
    for linestyle, (color, marker) in cycle(product(("-", "--"), zip(colors, "osD^v<>pX*", strict=True))):
        yield {"color": color, "marker": marker, "markersize": 5, "linestyle": linestyle}


def _percent(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else 100 * value for value in values]  # Matplotlib's gap


def _tick_labels(half_widths: Sequence[int]) -> list[str]:
    # On the logarithmic axis large half-widths crowd: leave out a number that would run into the one before it.
    nearest = 0.045 * math.log(half_widths[-1] / half_widths[0])
    labels, last = [], -math.inf
    for half_width in half_widths:
        if math.log(half_width) - last >= nearest:
            labels.append(str(half_width))
            last = math.log(half_width)
        else:
            labels.append("")
    return labels


def _require_curves(curves: Curves, half_widths: Sequence[int]) -> None:
    if not half_widths or half_widths[0] <= 0 or list(half_widths) != sorted(set(half_widths)):
        raise ValueError(f"half_widths must be positive and ascending, got {list(half_widths)}")
    if not curves:
        raise ValueError("curves must hold at least one curve, got none")
    for name, values in curves.items():
        if len(values) != len(half_widths):
            raise ValueError(f"curve {name!r} must have {len(half_widths)} values, got {len(values)}")
        if not all(value is None or 0 <= value <= 1 for value in values):
            raise ValueError(f"curve {name!r} must lie in 0..1, got {list(values)}")


def _require_differences(
    differences: Mapping[str, Sequence[Interval]], curves: Curves, half_widths: Sequence[int]
) -> None:
    if list(differences) != list(curves):
        raise ValueError(f"differences must be of the methods {list(curves)}, got {list(differences)}")
    for name, intervals in differences.items():
        if len(intervals) != len(half_widths):
            raise ValueError(f"differences of {name!r} must have {len(half_widths)} values, got {len(intervals)}")
        if not all(-1 <= low <= high <= 1 for _, low, high in intervals if low is not None and high is not None):
            raise ValueError(f"differences of {name!r} must have intervals in -1..1, got {list(intervals)}")
