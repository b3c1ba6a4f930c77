"""Outlines of what was and of what is, over a photograph."""

from __future__ import annotations

import numpy as np
from PIL import Image

from segaware.viz.colors import require_picture

BEFORE, AFTER = (255, 96, 0), (0, 200, 255)
_LARGEST_ZOOM = 8


def draw_outlines(image: np.ndarray, before: np.ndarray, after: np.ndarray, side: int = 416) -> np.ndarray:
    """Draw the borders of two label maps over a photograph: orange what has moved, blue where borders are now.

    Args:
        image: photograph, uint8, shape (H, W, 3).
        before: labels or a mask, shape (H, W).
        after: likewise.
        side: the longer side of the picture, pixels; small images are enlarged at most eight times.

    Returns:
        Picture, uint8, shape (H', W', 3).

    Raises:
        ValueError: an argument has another type or shape.

    Example:
        >>> before, after = np.zeros((2, 20, 30), bool)
        >>> before[5:15, 5:15] = after[5:15, 7:15] = True
        >>> draw_outlines(np.zeros((20, 30, 3), np.uint8), before, after).shape
        (160, 240, 3)
    """
    require_picture("image", image)
    height, width = image.shape[:2]
    for name, labels in (("before", before), ("after", after)):
        if labels.shape != (height, width):
            raise ValueError(f"{name} must have the image's height and width {(height, width)}, got {labels.shape}")
    zoom = min(side / max(height, width), _LARGEST_ZOOM)
    size = max(round(width * zoom), 1), max(round(height * zoom), 1)
    picture = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    rows, columns = (np.arange(n) * m // n for n, m in ((size[1], height), (size[0], width)))
    for labels, color in ((before, BEFORE), (after, AFTER)):
        picture[_border(labels[rows][:, columns])] = color
    return picture


def _border(labels: np.ndarray) -> np.ndarray:
    """Return the pixels on both sides of a border, bool (H, W)."""
    border = np.zeros(labels.shape, bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border
