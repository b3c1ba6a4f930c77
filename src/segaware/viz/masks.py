"""Pictures of attention masks: what single pixels attend to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segaware.constants import IGNORE_INDEX
from segaware.metrics import border_distance
from segaware.ops import attention_mask, embedding_distance
from segaware.viz import mark_points, mask_picture, side_by_side


def points_inside(label: np.ndarray, count: int, reach: int) -> list[tuple[int, int]]:
    """Return (row, column) of pixels of objects, 4 pixels inside their borders, evenly spaced in the list of all.

    They are `reach` pixels or more from the border of the label map (H, W); there may be none.
    """
    near_border = (border_distance(torch.from_numpy(label)).numpy() == 4) & (label != 0) & (label != IGNORE_INDEX)
    near_border[:reach] = near_border[-reach:] = False
    near_border[:, :reach] = near_border[:, -reach:] = False
    rows, columns = np.nonzero(near_border)
    if len(rows) == 0:
        return []
    chosen = np.linspace(0, len(rows) - 1, count + 2).round().astype(int)[1:-1]
    return [(int(rows[i]), int(columns[i])) for i in chosen]


@torch.inference_mode()
def draw_masks(
    picture: np.ndarray,
    points: Sequence[tuple[int, int]],
    masks: Mapping[str, tuple[Tensor, float]],
    reach: int,
    height: int | None = None,
) -> np.ndarray:
    """Mark points of a picture, and show the window around each, and its masks.

    Args:
        picture: The picture, uint8 (H, W, 3).
        points: (row, column) of pixels, `reach` or more from the border of the picture.
        masks: By caption, the embedding (1, E, H, W) and the hardness of a mask.
        reach: Pixels that a window reaches in each direction.
        height: Height of the marked picture, and about that of the windows; None is that of the picture.

    Returns:
        Picture, uint8 (H', W', 3).
    """
    window = 2 * reach + 1
    height = picture.shape[0] if height is None else height
    factor = height / picture.shape[0]
    width = round(picture.shape[1] * factor)
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST if factor > 1 else None)
    marks = [(int(row * factor), int(column * factor)) for row, column in points]
    zoom = max(3, height // window)  # of a tap
    panels = [("marked pixels", mark_points(np.array(resized), marks))]
    for number, (row, column) in enumerate(points, start=1):
        rows, columns = slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1)
        tiles = {"window": picture[rows, columns].repeat(zoom, 0).repeat(zoom, 1)}
        for caption, (embedding, hardness) in masks.items():
            distance = embedding_distance(embedding[:, :, rows, columns], window)[0, :, 0, 0]
            tiles[caption] = mask_picture(attention_mask(distance, hardness), window, zoom)
        panels += [(f"{number}: {caption}", tile) for caption, tile in tiles.items()]
    highest = max(len(panel) for _, panel in panels)
    return side_by_side(
        [(c, np.pad(p, ((0, highest - len(p)), (0, 0), (0, 0)), constant_values=255)) for c, p in panels]
    )
