import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segaware.data.flow.layers import Layer, compose, render_pair

STILL = np.eye(3)


def shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def rotation(degrees: float, x: float, y: float) -> np.ndarray:
    """Turn around (x, y)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return shift(x, y) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ shift(-x, -y)


def square(side: int, color: float) -> Tensor:
    return torch.cat([torch.full((3, side, side), color), torch.ones(1, side, side)])


def waves(height: int, width: int) -> Tensor:
    """A texture so smooth that bilinear sampling hardly changes it."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    colors = [(0.5 + 0.5 * torch.sin(x / 7 + phase) * torch.cos(y / 9 - phase)) for phase in (0, 1, 2)]
    return torch.stack([*colors, torch.ones(height, width)])


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample an image (3, H, W) where the flow points to."""
    height, width = flow.shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([2 * (x + flow[0]) / (width - 1) - 1, 2 * (y + flow[1]) / (height - 1) - 1], dim=-1)
    return F.grid_sample(image[None], grid[None], align_corners=True)[0]


def test_two_layers_by_hand():
    # A white square over rows 2-4 and columns 3-5 moves 4 right and 1 up; the ground moves 1 down.
    ground = Layer(square(12, 0.25), STILL, shift(0, 1))
    white = Layer(square(3, 1.0), shift(3, 2), shift(4, -1))
    sample = render_pair(ground, [white], (8, 12), "hand")
    inside = torch.zeros(8, 12, dtype=torch.bool)
    inside[2:5, 3:6] = True
    assert torch.allclose(sample.image1, torch.where(inside, 1.0, 0.25).expand(3, -1, -1))
    assert torch.allclose(sample.image2, torch.where(inside.roll((-1, 4), (0, 1)), 1.0, 0.25).expand(3, -1, -1))
    assert torch.equal(sample.flow[0], torch.where(inside, 4.0, 0.0))
    assert torch.equal(sample.flow[1], torch.where(inside, -1.0, 1.0))
    occluded = torch.zeros(8, 12, dtype=torch.bool)
    occluded[7] = True  # the ground leaves below
    occluded[0:3, 7:10] = True  # what moves to where the square is then
    assert torch.equal(sample.occluded, occluded)
    assert sample.valid.all() and sample.valid.shape == (8, 12) and sample.name == "hand"


def test_the_upper_layer_wins_and_is_never_occluded_by_a_lower_one():
    ground, low, high = (
        Layer(square(side, color), shift(x, 2), motion)
        for side, color, x, motion in [(12, 0.0, 0, STILL), (4, 0.5, 1, shift(3, 0)), (4, 1.0, 4, STILL)]
    )
    sample = render_pair(ground._replace(pose=STILL), [low, high], (8, 12), "pile")
    row = 3
    assert sample.image1[0, row].numpy() == pytest.approx([0, 0.5, 0.5, 0.5, 1, 1, 1, 1, 0, 0, 0, 0])
    assert sample.flow[0, row].tolist() == [0, 3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0]
    assert sample.occluded[row].int().tolist() == [0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("moved", "hidden"), [(0.4, []), (0.6, [3]), (-0.6, [6]), (1.4, [3]), (1.6, [2, 3])])
def test_occlusion_is_that_of_the_point_between_pixels(moved, hidden):
    # The post covers columns 4 and 5 of both images, and with alpha above one half the points from 3.5 to 5.5.
    ground, post = Layer(square(12, 0.0), STILL, shift(moved, 0)), Layer(square(4, 1.0)[:, :, 1:3], shift(4, 2), STILL)
    sample = render_pair(ground, [post], (8, 12), "post")
    assert sample.occluded[3, 2:10].nonzero()[:, 0].add(2).tolist() == hidden
    assert sample.flow[0, 3, [3, 4, 5, 6]].tolist() == pytest.approx([moved, 0, 0, moved])


def test_edges_are_soft_and_labels_hard():
    texture = F.pad(square(2, 1.0), (1, 1, 1, 1), mode="replicate")
    texture[3, [0, -1]] = texture[3, :, [0, -1]] = 0
    layers = [Layer(square(9, 0.0), STILL, STILL), Layer(texture, shift(2.4, 2), shift(0.2, 0))]
    sample = render_pair(layers[0], layers[1:], (8, 8), "soft")
    assert sample.image1[0, 3].numpy() == pytest.approx([0, 0, 0, 0.6, 1, 0.4, 0, 0], abs=1e-5)
    assert sample.image2[0, 3].numpy() == pytest.approx([0, 0, 0, 0.4, 1, 0.6, 0, 0], abs=1e-5)
    assert sample.flow[0, 3].numpy() == pytest.approx([0, 0, 0, 0.2, 0.2, 0, 0, 0])
    first, second = (compose(layers, [getattr(layer, p) for layer in layers], (8, 8)) for p in ("pose", "next_pose"))
    assert torch.equal(first[0], sample.image1) and torch.equal(second[0], sample.image2)
    assert first[1][3].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert second[1][3].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]


def test_flow_is_the_affine_displacement():
    turn = rotation(5, 20, 15)
    sample = render_pair(Layer(waves(40, 50), STILL, turn), [], (40, 50), "turn")
    for x, y in [(0, 0), (49, 0), (20, 15), (13, 37)]:
        expected = (turn @ [x, y, 1])[:2] - [x, y]
        assert sample.flow[:, y, x].numpy() == pytest.approx(expected, abs=1e-4)


def test_second_image_warped_by_the_flow_is_the_first():
    camera = shift(3.3, -2.6) @ rotation(4, 40, 30)
    ground = Layer(waves(64, 80), shift(0.4, -0.3), camera)
    blob = Layer(waves(20, 30).flip(1), shift(22.3, 17.8), camera @ shift(9.5, 6.2) @ rotation(-8, 37, 28))
    sample = render_pair(ground, [blob], (64, 80), "waves")
    error = (warp(sample.image2, sample.flow) - sample.image1).abs().mean(0)
    edges = (F.max_pool2d(sample.flow, 5, 1, 2) + F.max_pool2d(-sample.flow, 5, 1, 2)).amax(0) > 2
    # a point next to the moved blob is a mixture of it and of the ground
    seen = ~edges & (F.max_pool2d(sample.occluded[None].float(), 5, 1, 2)[0] == 0)
    assert seen.float().mean() > 0.6 and 0.02 < sample.occluded.float().mean() < 0.3
    assert error[seen].max() < 0.02 and error[seen].mean() < 0.003
    assert error[sample.occluded].mean() > 0.1


def test_the_background_goes_on_mirrored_and_objects_do_not():
    gray = Layer(square(6, 0.5), STILL, shift(3, 0))
    sample = render_pair(gray, [Layer(square(2, 1.0), shift(-40, 0), shift(0, 1))], (6, 6), "gray")
    assert torch.allclose(sample.image2, torch.full((3, 6, 6), 0.5))
