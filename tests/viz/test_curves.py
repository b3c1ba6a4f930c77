import io
import itertools
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from segaware.viz import curve_png, trimap_curve

CURVES = {"bilinear": [0.512, 0.68, 0.75], "filter": [0.591, 0.746, 0.8]}
HALF_WIDTHS = [1, 5, 20]
DIFFERENCES = {
    "bilinear": [(0.0, 0.0, 0.0)] * 3,
    "filter": [(0.08, 0.07, 0.095), (0.066, 0.06, 0.07), (0.05, -0.01, 0.06)],
}


def test_plot_shows_what_was_given(monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    curve_png(CURVES, HALF_WIDTHS)
    (axes,) = figures[0].axes
    for line, (name, values) in zip(axes.lines, CURVES.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_allclose(line.get_xdata(), HALF_WIDTHS)
        np.testing.assert_allclose(line.get_ydata(), [100 * value for value in values])
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "20"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(CURVES)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("trimap half-width [px]", "mIoU [%]")


def test_second_panel_shows_differences_with_their_intervals(monkeypatch, tmp_path):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    trimap_curve(CURVES, HALF_WIDTHS, tmp_path / "curve.png", DIFFERENCES)
    left, right = figures[0].axes
    assert [line.get_label() for line in left.lines] == list(CURVES)
    for line, band, intervals in zip(right.lines, right.collections, DIFFERENCES.values(), strict=True):
        difference, low, high = 100 * np.array(intervals).T
        np.testing.assert_allclose(line.get_xdata(), HALF_WIDTHS)
        np.testing.assert_allclose(line.get_ydata(), difference)
        corners = band.get_paths()[0].vertices
        for x, bottom, top in zip(HALF_WIDTHS, low, high, strict=True):
            ends = corners[corners[:, 0] == x, 1]
            np.testing.assert_allclose([ends.min(), ends.max()], [bottom, top])
    for line, other in zip(left.lines, right.lines, strict=True):
        assert (line.get_color(), line.get_marker()) == (other.get_color(), other.get_marker())
    assert right.get_xscale() == "log"
    assert right.get_ylabel() == "mIoU less that of the control [points]"
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == list(CURVES)


def test_twenty_curves_look_different(monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: figures.append(self))
    curve_png({str(i): [0.5] for i in range(20)}, [1])
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in figures[0].axes[0].lines}
    assert len(looks) == 20


@pytest.mark.parametrize(
    ("differences", "message"),
    [
        ({"filter": DIFFERENCES["filter"]}, r"differences must be of the methods \['bilinear', 'filter'\], got"),
        (dict(reversed(DIFFERENCES.items())), "differences must be of the methods"),
        (DIFFERENCES | {"filter": DIFFERENCES["filter"][:2]}, "differences of 'filter' must have 3 values, got 2"),
        (DIFFERENCES | {"filter": [(0, 0.2, 0.1)] * 3}, r"differences of 'filter' must have intervals in -1\.\.1"),
        (DIFFERENCES | {"filter": [(8, 7, 9)] * 3}, "differences of 'filter' must have intervals"),
    ],
)
def test_bad_differences_are_named(differences, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        trimap_curve(CURVES, HALF_WIDTHS, tmp_path / "curve.png", differences)
    assert not list(tmp_path.iterdir())


def test_crowded_ticks_lose_their_numbers(monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: figures.append(self))
    curve_png({"a": [0.5] * 40}, list(range(1, 41)))
    numbers = [label.get_text() for label in figures[0].axes[0].get_xticklabels()]
    shown = [int(number) for number in numbers if number]
    assert shown[:5] == [1, 2, 3, 4, 5] and len(shown) < 20
    assert all(b / a > 1.18 for a, b in itertools.pairwise(shown))  # 40 ** 0.045


def test_png_file_is_the_same_plot_as_the_bytes(tmp_path):
    trimap_curve(CURVES, HALF_WIDTHS, tmp_path / "curve.png")
    file = np.array(Image.open(tmp_path / "curve.png"))
    assert (file == np.array(Image.open(io.BytesIO(curve_png(CURVES, HALF_WIDTHS))))).all()
    other = {**CURVES, "filter": [0.6, 0.7, 0.8]}
    assert (file != np.array(Image.open(io.BytesIO(curve_png(other, HALF_WIDTHS))))).any()
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_svg_file_is_svg(tmp_path):
    trimap_curve({"only": [0.5]}, [3], tmp_path / "curve.SVG")
    assert ElementTree.parse(tmp_path / "curve.SVG").getroot().tag.endswith("svg")


def test_failing_plot_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "curve.png"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        trimap_curve(CURVES, HALF_WIDTHS, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("curves", "half_widths", "message"),
    [
        ({}, [1], "at least one curve"),
        ({"a": [0.5]}, [], "half_widths must be positive and ascending"),
        ({"a": [0.5, 0.5]}, [0, 1], r"half_widths .* got \[0, 1\]"),
        ({"a": [0.5, 0.5]}, [2, 1], r"half_widths .* got \[2, 1\]"),
        ({"a": [0.5]}, [1, 2], "curve 'a' must have 2 values, got 1"),
        ({"a": [51.2]}, [1], r"curve 'a' must lie in 0\.\.1, got \[51\.2\]"),
        ({"a": [float("nan")]}, [1], "curve 'a' must lie"),
    ],
)
def test_bad_input_is_named(curves, half_widths, message):
    with pytest.raises(ValueError, match=message):
        curve_png(curves, half_widths)


def test_unknown_suffix_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.png or \.svg, got .*curve\.pdf"):
        trimap_curve(CURVES, HALF_WIDTHS, tmp_path / "curve.pdf")
    assert not list(tmp_path.iterdir())
