"""Where scores lie in an image, compared with torch's interpolation."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segaware import BilateralFilter2d, refine
from segaware.nn import upsample
from segaware.refining.grid import find_grid
from segaware.refining.tiles import Span, Tile

SIZES = [((45, 62), (12, 16)), ((33, 80), (33, 80)), ((64, 48), (9, 30)), ((20, 30), (41, 70)), ((7, 9), (1, 1))]


def interpolated(points: Tensor, size: tuple[int, int], align: Any, region: Any = None) -> Tensor:
    grid = find_grid(size, (points.shape[-2], points.shape[-1]), align, region)
    tile = Tile(*(Span(0, length, 0, length) for length in size))
    rows, columns = grid.under(tile)
    return grid.interpolated(points[..., rows, columns], tile, 1)


@pytest.mark.parametrize(("size", "points"), SIZES)
@pytest.mark.parametrize("align", ["centers", "corners"])
def test_is_torchs_interpolation(size: tuple[int, int], points: tuple[int, int], align: Any) -> None:
    scores = torch.randn(1, 3, *points)
    expected = F.interpolate(scores, size, mode="bilinear", align_corners=align == "corners")
    torch.testing.assert_close(interpolated(scores, size, align), expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize(("size", "stride"), [((45, 62), 8), ((64, 64), 4), ((50, 70), 3), ((50, 70), 1)])
def test_strided_is_upsampled_and_the_default_where_it_fits(size: tuple[int, int], stride: int) -> None:
    scores = torch.randn(1, 3, *(-(-length // stride) for length in size))
    expected = upsample(scores, stride, size)
    for align in ("strided", None):
        torch.testing.assert_close(interpolated(scores, size, align), expected, atol=1e-5, rtol=0)
    centers = F.interpolate(scores[..., :-1], size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(interpolated(scores[..., :-1], size, None), centers, atol=5e-5, rtol=0)


@pytest.mark.parametrize("align", ["centers", "corners"])
def test_letterboxes_and_padded_squares(align: Any) -> None:
    square, corners = torch.randn(1, 2, 16, 16), align == "corners"
    whole = F.interpolate(square, (64, 64), mode="bilinear", align_corners=corners)
    padded = interpolated(square, (40, 64), align, (0, 0, 64, 64))
    torch.testing.assert_close(padded, whole[:, :, :40], atol=1e-5, rtol=0)
    letterbox = interpolated(square, (40, 64), align, (0, -12, 64, 52))
    torch.testing.assert_close(letterbox, whole[:, :, 12:52], atol=1e-5, rtol=0)
    crop = interpolated(square, (80, 90), align, (10, 7, 74, 71))
    torch.testing.assert_close(crop[:, :, 7:71, 10:74], whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(crop[:, :, 3, 10:74], crop[:, :, 7, 10:74])  # which goes on outside


@pytest.mark.parametrize(
    ("align", "region", "first", "step"),
    [
        ("centers", None, 1.75, 4.5),  # the centres of 20 cells, in pixels whose centres are whole numbers
        ("corners", None, 0, 89 / 19),
        ("centers", (-9.5, 0, 110.5, 60), -7, 6),
        ("corners", (0, 0, 96, 60), 0, 5),
    ],
)
def test_a_ramp_stays_where_it_is(align: Any, region: Any, first: float, step: float) -> None:
    """Of values that are the column where a point lies, refined without a neighbour in sight."""
    image = np.zeros((60, 90, 3), np.uint8)
    ramp = np.broadcast_to(first + step * np.arange(20), (15, 20)).astype(np.float32)
    refined = refine(image, ramp, BilateralFilter2d(1), "values", "color", align=align, region=region, stride=1)
    inside = slice(max(0, int(np.ceil(first))), int(first + step * 19))
    np.testing.assert_allclose(
        refined[:, inside], np.broadcast_to(np.arange(90)[inside], refined[:, inside].shape), atol=1e-4
    )


def test_labels_take_the_nearest_point() -> None:
    image = np.zeros((8, 12, 3), np.uint8)
    labels = np.arange(6).reshape(2, 3).astype(np.uint8)
    refined = refine(image, labels, BilateralFilter2d(1), "labels", "color", align="centers", region=(0, 0, 12, 8))
    assert (refined == np.kron(labels, np.ones((4, 4), np.uint8))).all()
