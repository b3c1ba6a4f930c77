"""Masks as people draw them: exact ones, with polygons for their outlines."""

from __future__ import annotations

import numpy as np
from contourpy import contour_generator

from segaware.data.coco_masks import decode_mask


def draw_polygons(mask: np.ndarray, tolerance: float) -> np.ndarray:
    """Return a mask whose outlines are polygons with as few corners as stay close to its own.

    Corners lie on the outline, as an annotator sets them, and straight lines between them: Douglas & Peucker,
    "Algorithms for the reduction of the number of points" (1973). Pixels are painted as COCO's tools do. Of what is
    less than a triangle then, nothing is left.

    Args:
        mask: Exact mask, bool (H, W).
        tolerance: How far the outline may be from its polygon, in pixels.

    Example:
        >>> square = np.zeros((8, 8), bool)
        >>> square[2:6, 2:6] = True
        >>> bool((draw_polygons(square, 0.1) == square).all())
        True
    """
    height, width = mask.shape
    # From the middle of a pixel to that of the next; COCO counts from the upper left corner of the first.
    outlines = contour_generator(z=np.pad(mask, 1).astype(float)).lines(0.5)
    drawn = np.zeros(mask.shape, bool)
    for outline in outlines:
        corners = _simplify(np.asarray(outline)[:-1], tolerance) - 0.5
        if len(corners) > 2:
            drawn ^= decode_mask([corners.ravel().tolist()], height, width)  # an outline inside another is a hole
    return drawn


def _simplify(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the corners of a closed outline (K, 2) that keep it within a tolerance."""
    far = int(np.linalg.norm(ring - ring[0], axis=1).argmax())
    kept = np.zeros(len(ring) + 1, bool)
    kept[[0, far]] = True
    ring = np.vstack([ring, ring[:1]])
    pieces = [(0, far), (far, len(ring) - 1)]
    while pieces:
        start, stop = pieces.pop()
        if stop - start < 2:
            continue
        along, inner = ring[stop] - ring[start], ring[start + 1 : stop] - ring[start]
        share = np.clip(inner @ along / max(along @ along, 1e-12), 0, 1)
        # Rounded, so that of points equally far it is the first on every processor.
        distance = np.linalg.norm(inner - share[:, None] * along, axis=1).round(6)
        if distance.max() > tolerance:
            middle = start + 1 + int(distance.argmax())
            kept[middle] = True
            pieces += [(start, middle), (middle, stop)]
    return ring[:-1][kept[:-1]]
