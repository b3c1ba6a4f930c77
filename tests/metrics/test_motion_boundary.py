import math

import numpy as np
import pytest
import torch
from torch import Tensor

from segaware.metrics.motion_boundary import boundary_distance, known_flow, motion_boundaries


def pieces(seed: int, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flow in blocks that move alike or differently, with a little noise, and a tenth of it unknown."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(0, 1.5, (2, shape[0] // 5 + 1, shape[1] // 5 + 1))
    flow = coarse.repeat(5, 1).repeat(5, 2)[:, : shape[0], : shape[1]] + generator.normal(0, 0.1, (2, *shape))
    return torch.from_numpy(flow), torch.from_numpy(generator.random(shape) > 0.1)


def loop_boundaries(flow: np.ndarray, valid: np.ndarray, threshold: float) -> np.ndarray:
    boundary = np.zeros_like(valid)
    height, width = valid.shape
    for row, column in np.ndindex(height, width):
        for y, x in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= y < height and 0 <= x < width and valid[row, column] and valid[y, x]:
                boundary[row, column] |= math.dist(flow[:, row, column], flow[:, y, x]) > threshold
    return boundary


@pytest.mark.parametrize("shape", [(12, 17), (1, 9), (9, 1), (1, 1)])
@pytest.mark.parametrize("threshold", [0.0, 1.0, 2.5])
def test_equals_a_loop_over_neighbours(shape: tuple[int, int], threshold: float) -> None:
    for seed in range(4):
        flow, valid = pieces(seed, shape)
        boundary = motion_boundaries(flow, valid, threshold)
        np.testing.assert_array_equal(boundary.numpy(), loop_boundaries(flow.numpy(), valid.numpy(), threshold))
        assert boundary.dtype == torch.bool


def test_loop_sees_some_boundaries_and_not_everything() -> None:
    flow, valid = pieces(0, (12, 17))
    assert 0.1 < motion_boundaries(flow, valid).float().mean() < 0.9


def test_distance_equals_a_search_of_all_boundary_pixels() -> None:
    for seed in range(3):
        flow, valid = pieces(seed, (11, 14))
        boundary = np.argwhere(loop_boundaries(flow.numpy(), valid.numpy(), 2.5))
        distance = boundary_distance(flow, valid, threshold=2.5)
        for pixel in np.ndindex(11, 14):
            assert distance[pixel].item() == pytest.approx(min(math.dist(pixel, other) for other in boundary))
        assert distance.dtype == torch.float64 and distance.max() > 1


def test_a_difference_of_exactly_the_threshold_is_no_boundary() -> None:
    flow = torch.tensor([[[0.0, 3.0]], [[0.0, 4.0]]])
    valid = torch.ones(1, 2, dtype=torch.bool)
    assert not motion_boundaries(flow, valid, threshold=5.0).any()
    assert motion_boundaries(flow, valid, threshold=4.999).all()


def test_turning_and_growing_objects_have_no_boundary_inside() -> None:
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    angle, growth = math.radians(15), 1.2
    turned = growth * torch.stack(
        [math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y]
    )
    flow = turned - torch.stack([x, y])
    assert flow.norm(dim=0).max() > 30
    assert not motion_boundaries(flow, torch.ones(60, 80, dtype=torch.bool)).any()


def test_images_of_a_batch_stay_apart() -> None:
    flows, valids = (torch.stack(both) for both in zip(*(pieces(seed, (9, 12)) for seed in range(3)), strict=True))
    flows[1] = 7.0  # one motion only
    distances = boundary_distance(flows, valids)
    assert distances.shape == (3, 9, 12)
    assert (distances[1] == math.inf).all()
    for image in (0, 2):
        assert torch.equal(distances[image], boundary_distance(flows[image], valids[image]))
        assert torch.equal(motion_boundaries(flows, valids)[image], distances[image] == 0)


@pytest.mark.parametrize("marker", [math.nan, math.inf, -math.inf, 1.1e9, -1.1e9, 1.666e9])
@pytest.mark.parametrize("component", [0, 1])
def test_unknown_flow_is_no_boundary(marker: float, component: int) -> None:
    flow = torch.zeros(2, 5, 7)
    flow[:, 2, 3] = 1000.0
    valid = torch.ones(5, 7, dtype=torch.bool)
    assert motion_boundaries(flow, valid).sum() == 5
    flow[component, 2, 3] = marker
    assert not motion_boundaries(flow, valid).any()
    assert known_flow(flow, valid).sum() == 34 and not known_flow(flow, valid)[2, 3]


FLOW = torch.zeros(2, 3, 4)
VALID = torch.ones(3, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("flow", "valid", "message"),
    [
        (FLOW[0], VALID, r"flow must be floating point of shape \(2, H, W\) or \(N, 2, H, W\), .* shape \(3, 4\)"),
        (FLOW[:1], VALID, r"flow must .* shape \(1, 3, 4\)"),
        (FLOW[None, None], VALID, r"flow must .* shape \(1, 1, 2, 3, 4\)"),
        (FLOW[:, :0], VALID, r"flow must .* not empty, got torch.float32 of shape \(2, 0, 4\)"),
        (FLOW.long(), VALID, "flow must be floating point .* got torch.int64"),
        (FLOW, VALID[:2], r"valid must be bool of shape \(3, 4\), got torch.bool of shape \(2, 4\)"),
        (FLOW[None], VALID, r"valid must be bool of shape \(1, 3, 4\), got .* \(3, 4\)"),
        (FLOW, VALID.byte(), r"valid must be bool of shape \(3, 4\), got torch.uint8"),
    ],
)
def test_bad_flow_is_named(flow: Tensor, valid: Tensor, message: str) -> None:
    for function in (known_flow, motion_boundaries, boundary_distance):
        with pytest.raises(ValueError, match=message):
            function(flow, valid)


@pytest.mark.parametrize("threshold", [-0.1, math.nan, math.inf])
def test_bad_threshold_is_named(threshold: float) -> None:
    for function in (motion_boundaries, boundary_distance):
        with pytest.raises(ValueError, match="threshold must be 0 or more and finite, got"):
            function(FLOW, VALID, threshold)
