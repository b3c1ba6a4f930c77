"""How sure we can be that one method's mean IoU is better than another's."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segaware.metrics.iou import mean_iou


class Interval(NamedTuple):
    """A difference of two mean IoUs (in units of 0..1, so 0.01 is one point) and its confidence interval."""

    difference: float
    low: float
    high: float


def paired_bootstrap(
    confusions: Tensor, control: Tensor, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Confidence interval of the difference in mean IoU between two methods run on the same images.

    Images are drawn with replacement, the same draw for both methods, so that what makes an image easy or hard for
    both cancels (Efron, 1979). Each draw gives the difference of the mean IoUs of the summed confusion matrices; the
    interval is between percentiles of these differences.

    Args:
        confusions: (N, C, C) confusion matrix of each image; row is the truth.
        control: (N, C, C) the same for the method to compare with, same images in the same order.
        samples: number of draws.
        seed: seed of the draws.
        level: confidence level, between 0 and 1.

    Returns:
        ``mean_iou(confusions) - mean_iou(control)`` on all images, and the ends of its interval.

    Raises:
        ValueError: a shape or option is wrong, or the two methods were not run on the same images.

    Example:
        >>> better = torch.tensor([[[9, 1], [0, 10]], [[4, 0], [1, 5]]])
        >>> worse = torch.tensor([[[6, 4], [3, 7]], [[3, 1], [2, 4]]])
        >>> interval = paired_bootstrap(better, worse)
        >>> 0 < interval.low < interval.difference < interval.high
        True
    """
    _check(confusions, control, samples, level)
    num_images = len(confusions)
    # How often each draw holds each image: (samples, N).
    drawn = np.random.default_rng(seed).multinomial(num_images, np.full(num_images, 1 / num_images), size=samples)
    times = torch.from_numpy(drawn).double()
    difference = mean_iou(confusions.sum(0)) - mean_iou(control.sum(0))
    differences = _resampled(confusions, times) - _resampled(control, times)
    tail = (1 - level) / 2
    low, high = np.quantile(differences.numpy(), [tail, 1 - tail])
    return Interval(difference.item(), float(low), float(high))


def _resampled(confusions: Tensor, times: Tensor) -> Tensor:
    """Mean IoU of each resample, (samples,)."""
    summed = times @ confusions.cpu().double().flatten(1)
    return mean_iou(summed.reshape(-1, *confusions.shape[1:]))


def _check(confusions: Tensor, control: Tensor, samples: int, level: float) -> None:
    shape = tuple(confusions.shape)
    if len(shape) != 3 or shape[1] != shape[2] or shape[0] == 0:
        raise ValueError(f"confusions must have shape (N, C, C) with N at least 1, got {shape}")
    if control.shape != confusions.shape:
        raise ValueError(f"control must have the shape of confusions, {shape}, got {tuple(control.shape)}")
    differs = (confusions.sum(2) != control.sum(2)).any(1)
    if differs.any():
        raise ValueError(
            "confusions and control must come from the same images in the same order, but the true class counts of "
            f"image {int(differs.nonzero()[0])} differ"
        )
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
