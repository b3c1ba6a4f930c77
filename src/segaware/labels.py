"""The check that a label map is not a binary mask of 0 and 255."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from segaware.constants import IGNORE_INDEX


def check_not_binary(name: str, label: ArrayLike) -> None:
    """Refuse a mask of 0 and 255: as a label map it has ground and nothing else, for 255 means "unknown".

    Only a whole map can be checked so. Parts of a right one, such as crops for training, may well hold ground and
    unknown pixels alone. A whole one holds a third value: an outline of 255 has an object on its inner side.

    Args:
        name: What an error should call the map.
        label: Integers of any shape: an array, or a tensor on the CPU.

    Raises:
        ValueError: If the map holds 0 and 255, and no other value.

    Example:
        >>> check_not_binary("mask", np.array([0, 1, 255], np.uint8))
    """
    label = np.asarray(label)
    ground, unknown = label == 0, label == IGNORE_INDEX
    if ground.any() and unknown.any() and (ground | unknown).all():
        raise ValueError(
            f"{name} must not hold the values 0 and 255 alone, for 255 means that a pixel's class is not known, and no "
            "object would be left: write 0 for ground and 1 for the object, and 255 only beside them where unknown"
        )
