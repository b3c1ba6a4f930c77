"""Colours in which label maps are drawn."""

from collections.abc import Sequence

import numpy as np


def voc_palette(n: int = 256) -> np.ndarray:
    """Return the PASCAL VOC colour map: the bits of the index, dealt to red, green and blue from the top bit down.

    Args:
        n: Number of colours, 1..256.

    Returns:
        uint8 RGB (n, 3).

    Raises:
        ValueError: `n` is out of range.

    Example:
        >>> voc_palette(3).tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    if not 1 <= n <= 256:
        raise ValueError(f"n must be in 1..256, got {n}")
    index = np.arange(n)
    palette = np.zeros((n, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= ((index >> bit & 1) << 7 - bit // 3).astype(np.uint8)
    return palette


def class_palette(colours: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
    """Return a palette of 256 colours, which begins with those of the classes and is black from there on.

    Args:
        colours: RGB (n, 3) in 0..255, n at most 256.

    Returns:
        uint8 RGB (256, 3). Void (255) is black.

    Example:
        >>> class_palette([(60, 40, 222)])[[0, 1, 255]].tolist()
        [[60, 40, 222], [0, 0, 0], [0, 0, 0]]
    """
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    return palette
