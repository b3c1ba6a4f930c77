"""Outlines as polygons, against the distance of every pixel to the exact border."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from segaware.data import PredictedSample, dataset
from segaware.data.polygons import draw_polygons

from .test_everyday import write_set


def blob(seed: int) -> np.ndarray:
    """Return a wavy blob with a hole."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:120, :160]
    angle, radius = np.arctan2(rows - 60, columns - 80), np.hypot(rows - 60, columns - 80)
    waves = sum(rng.normal(0, 2) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 9))
    return (radius < 40 + waves) & (radius > 12)


@pytest.mark.parametrize("tolerance", [1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_only_what_is_near_the_outline_changes(tolerance: float, seed: int) -> None:
    mask = blob(seed)
    drawn = draw_polygons(mask, tolerance)
    to_border = np.maximum(distance_transform_edt(mask), distance_transform_edt(~mask))
    assert to_border[drawn != mask].max() <= tolerance + 1  # a pixel's middle is up to half a diagonal off
    assert (drawn != mask).sum() > 20 * tolerance and not drawn[60, 80]


def test_an_image_that_is_all_object_and_one_without() -> None:
    assert draw_polygons(np.ones((20, 30), bool), 3.0)[1:-1, 1:-1].all()
    assert not draw_polygons(np.zeros((20, 30), bool), 3.0).any()


def test_a_data_set_of_redrawn_masks(tmp_path) -> None:
    mask = blob(0)
    write_set(tmp_path, "ecssd", mask.astype(np.uint8), "val")
    (sample,) = dataset("polygons_ecssd", "predictions").open("val", tmp_path)
    assert isinstance(sample, PredictedSample)
    np.testing.assert_array_equal(sample.label, mask)
    np.testing.assert_array_equal(sample.scores.argmax(0), draw_polygons(mask, 3.0))
    torch.testing.assert_close(sample.scores.softmax(0).max(0).values, torch.full(mask.shape, 1 - 1e-3))
