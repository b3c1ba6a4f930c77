"""Variational refinement: its sense of direction, what it leaves as it was, and what it refuses."""

import copy
import sys

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segaware.models import VariationalRefinement

MOTION = torch.tensor([2.0, -1.0])  # right and up


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Two batches of images that differ by MOTION."""
    smooth = F.interpolate(torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0)), size=(51, 66))
    smooth = F.avg_pool2d(smooth, 5, 1, 2)
    return smooth[:, :, 2:-3, 4:-1], smooth[:, :, 3:-2, 2:-3]


@pytest.fixture
def rough(images: tuple[Tensor, Tensor]) -> Tensor:
    noise = torch.randn(2, 2, *images[0].shape[2:], generator=torch.Generator().manual_seed(1))
    return MOTION[:, None, None] + noise / 2


def _error(flow: Tensor) -> Tensor:
    return (flow - MOTION[:, None, None]).norm(dim=1).mean((1, 2))


def test_finds_the_motion(images: tuple[Tensor, Tensor], rough: Tensor) -> None:
    refined = VariationalRefinement()(rough, *images)
    assert (_error(refined) < 0.3 * _error(rough)).all()
    # From half of the motion it goes on towards the whole, in both directions, where there is something to see.
    half = (MOTION / 2)[:, None, None].expand_as(rough)
    moved = (VariationalRefinement(fixed_point_iterations=50)(half, *images) - half).mean((0, 2, 3))
    assert moved[0] > 0.2 and moved[1] < -0.1


def test_arguments_are_left_as_they_were(images: tuple[Tensor, Tensor], rough: Tensor) -> None:
    given = rough.clone().requires_grad_()
    refined = VariationalRefinement()(given, *images)
    assert torch.equal(given, rough) and not refined.requires_grad
    assert not list(VariationalRefinement().parameters()) and not VariationalRefinement().state_dict()


def test_is_opencv_s_of_every_image_at_its_defaults(images: tuple[Tensor, Tensor], rough: Tensor) -> None:
    refined = VariationalRefinement()(rough, *images)
    for i in range(2):
        gray = [
            cv2.cvtColor((image[i] * 255).round().byte().permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2GRAY)
            for image in images
        ]
        flow = rough[i].permute(1, 2, 0).contiguous().numpy().copy()
        expected = cv2.VariationalRefinement.create().calc(*gray, flow)
        assert np.array_equal(refined[i].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 80.0},
        {"delta": 50.0},
        {"gamma": 0.0},
        {"fixed_point_iterations": 1},
        {"sor_iterations": 1},
        {"omega": 1.0},
    ],
)
def test_every_option_counts(images: tuple[Tensor, Tensor], rough: Tensor, options: dict) -> None:
    refine = VariationalRefinement(**options)
    assert not torch.equal(refine(rough, *images), VariationalRefinement()(rough, *images))
    assert all(f"{name}={value}" in repr(refine) for name, value in options.items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_that_of_the_flow(images: tuple[Tensor, Tensor], rough: Tensor, dtype: torch.dtype) -> None:
    refined = VariationalRefinement()(rough.to(dtype), *images)
    expected = VariationalRefinement()(rough.to(dtype).float(), *images).to(dtype)
    assert refined.dtype == dtype and torch.equal(refined, expected)


def test_threads_change_nothing() -> None:
    rng = torch.Generator().manual_seed(0)
    images = [torch.rand(1, 3, 101, 150, generator=rng) for _ in range(2)]
    flow = torch.randn(1, 2, 101, 150, generator=rng)
    threads = cv2.getNumThreads()
    try:
        refined = []
        for count in (1, 2, 5):
            cv2.setNumThreads(count)
            refined.append(VariationalRefinement()(flow, *images))
    finally:
        cv2.setNumThreads(threads)
    assert torch.equal(refined[0], refined[1]) and torch.equal(refined[0], refined[2])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1)])
def test_smallest_images(size: tuple[int, int]) -> None:
    flow, image = torch.full((1, 2, *size), 3.0), torch.full((1, 3, *size), 0.5)
    torch.testing.assert_close(VariationalRefinement()(flow, image, image), flow)
    assert VariationalRefinement()(flow[:0], image[:0], image[:0]).shape == (0, 2, *size)


def test_can_be_copied() -> None:
    assert copy.deepcopy(VariationalRefinement(alpha=7)).alpha == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "alpha must be a finite number of at least 0, got -1.0"),
        ({"gamma": float("nan")}, "gamma must be a finite number of at least 0, got nan"),
        ({"fixed_point_iterations": 0}, "fixed_point_iterations must be an int of at least 1, got 0"),
        ({"sor_iterations": 2.0}, r"sor_iterations must be an int of at least 1, got 2\.0"),
        ({"omega": 2.0}, r"omega must be between 0 and 2, got 2\.0"),
    ],
)
def test_options_that_do_not_fit(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VariationalRefinement(**options)


def test_tensors_that_do_not_fit() -> None:
    refine, flow, image = VariationalRefinement(), torch.zeros(1, 2, 6, 8), torch.zeros(1, 3, 6, 8)
    with pytest.raises(ValueError, match=r"flow must be .* \(N, 2, H, W\) .*, got torch.float32 of shape \(1, 3, 6, 8"):
        refine(image, image, image)
    with pytest.raises(ValueError, match=r"image2 must be .* \(1, 3, 6, 8\), as flow .* got .* \(1, 3, 6, 7\)"):
        refine(flow, image, image[..., 1:])
    with pytest.raises(ValueError, match=r"image1 must be floating-point RGB .* got torch\.uint8"):
        refine(flow, image.byte(), image)
    with pytest.raises(ValueError, match=r"image2 must lie in 0\.\.1, got values from 0 to 255"):
        refine(flow, image, image.index_fill(3, torch.tensor(2), 255))
    with pytest.raises(ValueError, match="flow must be finite, got NaN or infinity"):
        refine(flow.index_fill(3, torch.tensor(2), float("nan")), image, image)


def test_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs OpenCV: pip install 'segaware\[flow\]'"):
        VariationalRefinement()
