import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from segaware.viz.boundary_curves import boundary_curve, displacement_histogram

DISTANCES = [5, 10, 20]
CURVES = {"FlowNetS": [6.1, 5.2, 4.4, 1.9, 2.8], "segmentation-aware": [4.0, 3.9, 3.7, 1.8, 2.3]}
DIFFERENCES = {
    "FlowNetS": [(0.0, 0.0, 0.0)] * 5,
    "segmentation-aware": [
        (-2.1, -2.5, -1.4),
        (-1.3, -1.6, -1.1),
        (-0.7, -0.8, -0.5),
        (-0.1, -0.3, 0.2),
        (-0.5, -0.6, -0.3),
    ],
}
EDGES = [0, 1, 2, 4, math.inf]
HISTOGRAMS = {"chairs": [0.4, 0.3, 0.25, 0.05], "generator": [0.5, 0.5, 0.0, 0.0]}


@pytest.fixture
def figures(monkeypatch):
    """Figures that were saved."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (saved.append(self), save(self, *a, **k))[1])
    return saved


def names(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_plot_shows_what_was_given(figures, tmp_path):
    boundary_curve(CURVES, DISTANCES, tmp_path / "curve.png")
    (axes,) = figures[0].axes
    for near, every, (name, errors) in zip(axes.lines[::2], axes.lines[1::2], CURVES.items(), strict=True):
        assert near.get_label() == name
        np.testing.assert_array_equal(near.get_xydata(), list(enumerate(errors[:4])))
        np.testing.assert_array_equal(every.get_xydata(), [(4, errors[4])])
        assert (near.get_color(), near.get_marker()) == (every.get_color(), every.get_marker())
    assert ticks(axes.xaxis) == ["≤ 5", "≤ 10", "≤ 20", "> 20", "all"]
    assert axes.get_ylim()[0] == 0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("distance to a motion boundary [px]", "end-point error [px]")
    assert names(figures[0]) == list(CURVES)
    assert Image.open(tmp_path / "curve.png").size == (960, 720)


def test_second_panel_shows_differences_with_their_intervals(figures, tmp_path):
    boundary_curve(CURVES, DISTANCES, tmp_path / "curve.png", DIFFERENCES)
    left, right = figures[0].axes
    assert len(left.lines) == 4
    _, *points = right.lines  # after the line at 0
    positions = []
    for dots, bars, intervals in zip(points, right.collections, DIFFERENCES.values(), strict=True):
        difference, low, high = np.array(intervals).T
        np.testing.assert_array_equal(dots.get_ydata(), difference)
        for x, bottom, top, segment in zip(dots.get_xdata(), low, high, bars.get_segments(), strict=True):
            np.testing.assert_array_equal(segment, [(x, bottom), (x, top)])
        positions.append(dots.get_xdata())
    assert (positions[1] - positions[0] > 0.1).all()  # side by side,
    np.testing.assert_allclose((positions[0] + positions[1]) / 2, range(5), atol=1e-9)  # around the category
    assert [line.get_color() for line in points] == [line.get_color() for line in left.lines[::2]]
    assert ticks(right.xaxis) == ticks(left.xaxis)
    assert right.get_ylabel() == "end-point error less that of the control [px]"
    assert names(figures[0]) == list(CURVES)


def test_missing_errors_are_not_drawn(figures, tmp_path):
    nan = math.nan
    boundary_curve({"a": [3.0, 2.0, 1.5, nan, 1.5]}, DISTANCES, tmp_path / "curve.png", {"a": [(nan, nan, nan)] * 5})
    assert np.isnan(figures[0].axes[0].lines[0].get_ydata()).tolist() == [False, False, False, True]


def test_histogram_shows_shares_in_percent_in_bins_of_one_width(figures, tmp_path):
    displacement_histogram(HISTOGRAMS, EDGES, tmp_path / "histogram.png")
    (axes,) = figures[0].axes
    for steps, (name, shares) in zip(axes.patches, HISTOGRAMS.items(), strict=True):
        assert steps.get_label() == name
        values, edges, _ = steps.get_data()
        np.testing.assert_allclose(values, [100 * share for share in shares])
        np.testing.assert_array_equal(edges, range(5))
    assert axes.get_yscale() == "log" and axes.get_ylim()[0] > 1
    assert ticks(axes.xaxis) == ["0", "1", "2", "4", "∞"]
    assert "10" in ticks(axes.yaxis)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("displacement [px]", "share of pixels [%]")
    assert names(figures[0]) == list(HISTOGRAMS)


def test_many_edges_share_few_labels(figures, tmp_path):
    displacement_histogram({"a": [0.01] * 100}, range(101), tmp_path / "histogram.png")
    labels = ticks(figures[0].axes[0].xaxis)
    assert labels[:3] == ["0", "7", "14"] and len(labels) <= 16
    np.testing.assert_array_equal(figures[0].axes[0].get_xticks(), [int(label) for label in labels])


def test_svg_file_is_svg(tmp_path):
    boundary_curve(CURVES, DISTANCES, tmp_path / "curve.SVG")
    displacement_histogram(HISTOGRAMS, EDGES, tmp_path / "histogram.svg")
    for path in tmp_path.iterdir():
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("curves", "distances", "differences", "message"),
    [
        ({}, DISTANCES, None, "want at least one curve, got none"),
        (CURVES, [], None, "distances must be 0 or more and strictly increasing"),
        (CURVES, [-1, 5, 10], None, "distances must be 0 or more"),
        (CURVES, [5, 5, 10], None, r"distances must .* got \[5, 5, 10\]"),
        (CURVES, [5, 10], None, "curve 'FlowNetS' must have 4 values, got 5"),
        ({"a": [1, 1, -1, 1, 1]}, DISTANCES, None, r"curve 'a' must have errors of 0 or more, got \[1, 1, -1, 1, 1\]"),
        ({"a": [1, 1, math.inf, 1, 1]}, DISTANCES, None, "curve 'a' must have errors"),
        (CURVES, DISTANCES, dict(reversed(DIFFERENCES.items())), r"differences must be of the methods \['FlowNetS', "),
        (
            CURVES,
            DISTANCES,
            DIFFERENCES | {"FlowNetS": [(0, 0, 0)]},
            "differences of 'FlowNetS' must have 5 values, got 1",
        ),
        (CURVES, DISTANCES, DIFFERENCES | {"FlowNetS": [(0, 2, 1)] * 5}, "must have intervals from low to high, got"),
    ],
)
def test_bad_curves_are_named_before_anything_is_written(curves, distances, differences, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        boundary_curve(curves, distances, tmp_path / "curve.png", differences)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("histograms", "edges", "message"),
    [
        ({}, EDGES, "want at least one histogram, got none"),
        (HISTOGRAMS, [0, 2, 1, 4, 8], "edges must be 0 or more and strictly increasing"),
        (HISTOGRAMS, [0, 1, 2, 4], "histogram 'chairs' must have 3 values, got 4"),
        ({"a": [40, 30, 25, 5]}, EDGES, r"histogram 'a' must lie in 0\.\.1, got \[40, 30, 25, 5\]"),
        ({"a": [math.nan] * 4}, EDGES, "histogram 'a' must lie"),
    ],
)
def test_bad_histograms_are_named_before_anything_is_written(histograms, edges, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        displacement_histogram(histograms, edges, tmp_path / "histogram.png")
    assert not list(tmp_path.iterdir())


def test_unknown_suffix_is_refused_before_anything_is_written(tmp_path):
    for draw in (
        lambda path: boundary_curve(CURVES, DISTANCES, path),
        lambda path: displacement_histogram(HISTOGRAMS, EDGES, path),
    ):
        with pytest.raises(ValueError, match=r"path must end in \.png or \.svg, got .*curve\.pdf"):
            draw(tmp_path / "curve.pdf")
    assert not list(tmp_path.iterdir())
