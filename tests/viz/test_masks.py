"""Pictures of masks."""

import numpy as np
import pytest
import torch

from segaware.data import generate_scene
from segaware.metrics import border_distance
from segaware.viz.masks import draw_masks, points_inside


def test_points_lie_inside_objects_near_their_borders() -> None:
    found = 0
    for seed in range(20):
        _, label = generate_scene(seed)
        distance = border_distance(torch.from_numpy(label)).numpy()
        for row, column in points_inside(label, 3, reach=8):
            found += 1
            assert label[row, column] != 0 and distance[row, column] == 4
            assert 8 <= row < 88 and 8 <= column < 88  # its 17x17 window is inside the scene
    assert found > 40


def test_scene_without_objects_has_no_points() -> None:
    assert points_inside(np.zeros((96, 96), np.uint8), 3, reach=8) == []


@pytest.mark.parametrize("height", [20, 40, 80])
def test_picture_of_masks(height: int) -> None:
    """Two halves of different embedding, 40 pixels high: a window of 5 pixels across the border sees its own half."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 30:] = 200
    embedding = torch.zeros(1, 2, 40, 60)
    embedding[..., 30:] = 3
    drawn = draw_masks(picture, [(20, 29), (9, 30)], {"mask": (embedding, 2.0)}, reach=2, height=height)
    width, zoom = 60 * height // 40, height // 5
    enlarged = -(-160 // (5 * zoom))  # narrow tiles are enlarged, with all others
    assert drawn.shape == (24 + enlarged * height, enlarged * (width + 4 * 5 * zoom) + 4 * 8, 3)
    tiles = [drawn[24:, enlarged * (width + i * 5 * zoom) + (i + 1) * 8 :][:, : enlarged * 5 * zoom] for i in range(4)]
    middles = (np.arange(5) * zoom + zoom // 2) * enlarged
    seen = [tile[middles[0], middles].tolist() for tile in tiles]
    left, right, white, none = [0] * 3, [200] * 3, [255] * 3, [0] * 3
    assert seen[0] == [left] * 3 + [right] * 2 and seen[2] == [left] * 2 + [right] * 3
    assert seen[1] == [white] * 3 + [none] * 2 and seen[3] == [none] * 2 + [white] * 3  # exp(-2 * 6) is 0 in 8 bits
