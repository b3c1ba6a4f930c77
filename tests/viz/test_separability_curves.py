from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from segaware.viz import separability_curves

AREAS = {"color": [0.6, 0.7, 0.8], "mine": [None, 0.9, 0.95]}
PANELS = {"apart [px]": ((1, 5, 50), AREAS), "to a border [px]": ((1, 2, 3), AREAS)}


def test_plot_shows_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (saved.append(self), save(self, *a, **k))[1])
    separability_curves("voc", PANELS, tmp_path / "areas.png")
    for axes, (label, (distances, _)) in zip(saved[0].axes, PANELS.items(), strict=True):
        chance, color, mine = axes.lines
        assert set(chance.get_ydata()) == {0.5}
        np.testing.assert_array_equal(color.get_xydata(), list(zip(distances, AREAS["color"], strict=True)))
        np.testing.assert_array_equal(mine.get_ydata(), [np.nan, 0.9, 0.95])
        assert (axes.get_xlabel(), axes.get_xscale()) == (label, "log")
        assert [tick.get_text() for tick in axes.get_xticklabels()] == [str(distance) for distance in distances]
    assert saved[0].axes[0].get_ylabel() == "area under the ROC curve"
    assert [text.get_text() for text in saved[0].legends[0].get_texts()] == ["chance", "color", "mine"]
    assert Image.open(tmp_path / "areas.png").size == (1920, 720)


def test_arguments(tmp_path: Path) -> None:
    path = tmp_path / "areas.png"
    with pytest.raises(ValueError, match=r"path must end in \.png or \.svg"):
        separability_curves("voc", PANELS, tmp_path / "areas.jpg")
    with pytest.raises(ValueError, match="at least one panel"):
        separability_curves("voc", {}, path)
    with pytest.raises(ValueError, match=r"positive and ascending, got \[2, 1\]"):
        separability_curves("voc", {"x": ((2, 1), {"color": [0.5, 0.5]})}, path)
    with pytest.raises(ValueError, match="'color' must have 2 areas, got 1"):
        separability_curves("voc", {"x": ((1, 2), {"color": [0.5]})}, path)
    with pytest.raises(ValueError, match=r"'color' must lie in 0\.\.1"):
        separability_curves("voc", {"x": ((1,), {"color": [50]})}, path)
    assert not path.exists()
