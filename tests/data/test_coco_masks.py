"""Polygons and run lengths against pycocotools; what is broken is tested in test_coco.py."""

import numpy as np
import pytest
from pycocotools import mask as oracle

from segaware.data.coco_masks import decode_mask, encode_mask, mask_box


def random_polygon(rng: np.random.Generator, height: int, width: int) -> list[float]:
    """Return a polygon that may cross itself and the image's border, with points on pixels, between them or twice."""
    points = rng.uniform(-0.5, 1.5, (rng.integers(3, 12), 2)) * (width, height)
    points = np.clip(points, -max(height, width), 2 * max(height, width))
    grid = rng.choice([0, 1, 2])
    if grid:
        points = np.rint(points * grid) / grid
    points[1] = points[rng.integers(2)]
    return points.ravel().tolist()


@pytest.mark.parametrize("seed", range(4))
def test_polygons_are_those_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        height, width = (int(side) for side in rng.integers(1, 60, 2))
        polygons = [random_polygon(rng, height, width) for _ in range(rng.integers(1, 4))]
        wanted = oracle.decode(oracle.merge(oracle.frPyObjects(polygons, height, width))) > 0
        np.testing.assert_array_equal(decode_mask(polygons, height, width), wanted)


@pytest.mark.parametrize("density", [0, 0.01, 0.5, 0.99, 1])
def test_run_lengths_area_and_box_are_those_of_pycocotools(density: float) -> None:
    rng = np.random.default_rng(0)
    for size in ((1, 1), (1, 7), (7, 1), (33, 48), (300, 401)):  # the last has runs of several characters
        mask = rng.random(size) < density
        encoded = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))
        ours = encode_mask(mask)
        assert (ours["size"], ours["counts"]) == (encoded["size"], encoded["counts"].decode())
        assert mask_box(mask) == oracle.toBbox(encoded).tolist()
        np.testing.assert_array_equal(decode_mask(ours, *size), mask)
        flat = mask.ravel("F")
        counts = [0] * bool(flat[0]) + np.diff(np.flatnonzero(np.diff(flat)) + 1, prepend=0, append=flat.size).tolist()
        plain = {"size": list(size), "counts": counts}
        assert oracle.frPyObjects(plain, *size)["counts"] == encoded["counts"]
        np.testing.assert_array_equal(decode_mask(plain, *size), mask)
