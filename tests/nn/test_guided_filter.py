"""The guided filter against loops over windows."""

from typing import Any

import numpy as np
import pytest
import torch

from segaware.nn import GuidedFilter
from tests.metrics.test_no_double import mps

__all__ = ["mps"]  # a fixture


def loops(values: np.ndarray, image: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """He et al. 2010, Eq. 14 to 16, window by window: values (C, H, W), image (3, H, W)."""
    height, width = image.shape[1:]
    total, count = np.zeros(values.shape), np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            window = slice(max(i - radius, 0), i + radius + 1), slice(max(j - radius, 0), j + radius + 1)
            colors, inside = (x[:, window[0], window[1]].reshape(len(x), -1) for x in (image, values))
            centred = colors - colors.mean(1, keepdims=True)
            covariance = centred @ centred.T / colors.shape[1] + epsilon * np.eye(3)
            slope = np.linalg.solve(covariance, centred @ inside.T / colors.shape[1])
            fit = slope.T @ centred + inside.mean(1, keepdims=True)
            # Summed at the pixels that the window covers: their mean over all windows that see them.
            total[:, window[0], window[1]] += fit.reshape(total[:, window[0], window[1]].shape)
            count[window] += 1
    return total / count


@pytest.mark.parametrize(("radius", "epsilon"), [(1, 1e-2), (3, 1e-3), (8, 1e-4)])
def test_values(radius: int, epsilon: float) -> None:
    rng = np.random.default_rng(0)
    values, image = rng.random((2, 11, 14)), rng.random((3, 11, 14))
    ours = GuidedFilter(radius, epsilon)(torch.tensor(values)[None], torch.tensor(image)[None])[0]
    np.testing.assert_allclose(ours.numpy(), loops(values, image, radius, epsilon), atol=1e-10)
    single = GuidedFilter(radius, epsilon)(torch.tensor(values)[None].float(), torch.tensor(image)[None].float())[0]
    np.testing.assert_allclose(single.numpy(), ours.numpy(), atol=1e-4)


def test_a_blurred_step_becomes_the_image_s() -> None:
    image = torch.zeros(1, 3, 20, 40)
    image[..., 20:] = 1
    blurred = ((torch.arange(40.0) - 19.5) / 20 + 0.5).clamp(0, 1).expand(1, 1, 20, 40)
    refined = GuidedFilter(8, 1e-3)(blurred, image)
    assert blurred[0, 0, 0, 20] - blurred[0, 0, 0, 19] < 0.06 and refined[0, 0, 10, 20] - refined[0, 0, 10, 19] > 0.3


def test_probabilities_still_sum_to_1() -> None:
    probabilities = torch.randn(2, 5, 12, 9).softmax(1)
    total = GuidedFilter(2)(probabilities, torch.rand(2, 3, 12, 9)).sum(1)
    torch.testing.assert_close(total, torch.ones(2, 12, 9), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"radius": 0}, "radius"), ({"radius": 1.5}, "radius"), ({"epsilon": 0.0}, "epsilon must be a positive number")],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GuidedFilter(**options)


def test_shapes() -> None:
    with pytest.raises(ValueError, match="input must be of the image's size"):
        GuidedFilter(2)(torch.rand(1, 2, 5, 6), torch.rand(1, 3, 6, 5))
    with pytest.raises(ValueError, match="image must be floating-point RGB"):
        GuidedFilter(2)(torch.rand(1, 2, 5, 6), torch.rand(1, 1, 5, 6))


def test_sums_are_in_double_precision_where_the_device_has_none(mps: Any) -> None:
    layer, pixels = GuidedFilter(2, 0.01), torch.rand(1, 3, 9, 11)
    expected = layer._mean(pixels)
    there = layer._mean(mps(pixels))
    assert there.device.type == "mps"
    torch.testing.assert_close(there.cpu(), expected, rtol=0, atol=0)
