"""Colours in which label maps are drawn."""

import numpy as np

from segaware.data.voc import VOC_ANIMALS, VOC_CLASSES

CAMVID_PALETTE = np.array(
    [
        [128, 128, 128],  # Sky
        [128, 0, 0],  # Building
        [192, 192, 128],  # Pole
        [128, 64, 128],  # Road
        [60, 40, 222],  # Pavement
        [128, 128, 0],  # Tree
        [192, 128, 128],  # SignSymbol
        [64, 64, 128],  # Fence
        [64, 0, 128],  # Car
        [64, 64, 0],  # Pedestrian
        [0, 128, 192],  # Bicyclist
    ],
    np.uint8,
)
"""Colours of CamVid's 11 classes, uint8 (11, 3)."""

SCENES_PALETTE = np.array(
    [
        [128, 128, 128],  # ground
        [230, 80, 70],  # stripes
        [70, 130, 230],  # checker
        [245, 190, 60],  # dots
        [80, 180, 110],  # grain
        [165, 100, 200],  # waves
    ],
    np.uint8,
)
"""Colours of the 6 classes of `Scenes`, uint8 (6, 3)."""


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


def palette_for(dataset_name: str) -> np.ndarray:
    """Return the palette of a data set for `write_png`.

    Args:
        dataset_name: Name of the data set. VOC has its own colours; regions, which have no classes, take them too.

    Returns:
        uint8 RGB (256, 3). Void (255) is black for data sets with colours of their own.

    Raises:
        ValueError: The name is unknown.
    """
    if dataset_name in ("bsds500", "voc", "voc_train_aug", "voc_bsds500", "coco"):
        return voc_palette()
    own = {
        "scenes": SCENES_PALETTE,
        "camvid": CAMVID_PALETTE,
        "voc_animals": voc_palette()[[VOC_CLASSES.index(name) for name in VOC_ANIMALS]],
    }
    if dataset_name not in own:
        raise ValueError(f"dataset_name must be that of a data set of segaware, got {dataset_name!r}")
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(own[dataset_name])] = own[dataset_name]
    return palette
