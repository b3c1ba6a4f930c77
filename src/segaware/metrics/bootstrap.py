"""Confidence intervals of the difference between two methods' scores, by paired bootstrap."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segaware.metrics.iou import mean_iou


class Interval(NamedTuple):
    """A difference of two scores (for IoUs in units of 0..1, so 0.01 is one point) and its confidence interval."""

    difference: float
    low: float
    high: float


def paired_bootstrap(
    counts: Tensor | Sequence[Tensor],
    control: Tensor | Sequence[Tensor],
    statistic: Callable[[Tensor], Tensor] = mean_iou,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Confidence interval of the difference in a score between two methods run on the same images.

    Images are drawn with replacement, the same draw for both methods, so that what makes an image easy or hard for
    both cancels (Efron, 1979). Each draw gives the difference of the scores of the summed counts; the interval is
    between percentiles of these differences. Of methods that were trained with several seeds, the difference is the
    mean over seeds, and each draw is one of seeds with replacement too, the same for both methods.

    Args:
        counts: (N, ...) counts of each image; for `mean_iou` confusion matrices (N, C, C), row is the truth. Or one
            such tensor for every seed.
        control: the same for the method to compare with, same images in the same order, same seeds.
        statistic: the score of summed counts, which may have more dimensions before them: `mean_iou`, or
            `mean_boundary_iou` for the counts of `boundary_counts`.
        samples: number of draws.
        seed: seed of the draws.
        level: confidence level, between 0 and 1.

    Returns:
        ``statistic(counts) - statistic(control)`` on all images, mean over seeds, and the ends of its interval.

    Raises:
        ValueError: a shape or option is wrong, or the two methods were not run on the same images, which shows in the
            true class counts of confusion matrices. Other counts cannot tell.

    Example:
        >>> better = torch.tensor([[[9, 1], [0, 10]], [[4, 0], [1, 5]]])
        >>> worse = torch.tensor([[[6, 4], [3, 7]], [[3, 1], [2, 4]]])
        >>> interval = paired_bootstrap(better, worse)
        >>> 0 < interval.low < interval.difference < interval.high
        True
    """
    ours, theirs = ([value] if isinstance(value, Tensor) else value for value in (counts, control))
    pairs = list(zip(ours, theirs, strict=True))
    for one, other in pairs:
        _check(one, other, samples, level)
        if statistic is mean_iou:
            _check_same_truth(one, other)
    if len({len(one) for one, _ in pairs}) != 1:
        raise ValueError(f"counts must be of the same images for every seed, got {[len(one) for one, _ in pairs]}")
    num_images, num_seeds = len(pairs[0][0]), len(pairs)
    generator = np.random.default_rng(seed)
    # How often each draw holds each image (samples, N), and each seed (samples, S).
    images, seeds = (
        torch.from_numpy(generator.multinomial(count, np.full(count, 1 / count), size=samples)).double()
        for count in (num_images, num_seeds)
    )
    difference = sum(statistic(one.sum(0)) - statistic(other.sum(0)) for one, other in pairs) / num_seeds
    by_seed = [_resampled(statistic, one, images) - _resampled(statistic, other, images) for one, other in pairs]
    differences = (torch.stack(by_seed, 1) * seeds).sum(1) / num_seeds
    tail = (1 - level) / 2
    low, high = np.quantile(differences.numpy(), [tail, 1 - tail])
    return Interval(float(difference), float(low), float(high))


def _resampled(statistic: Callable[[Tensor], Tensor], counts: Tensor, times: Tensor) -> Tensor:
    """Score of each resample, (samples,)."""
    summed = times @ counts.cpu().double().flatten(1)
    return statistic(summed.reshape(-1, *counts.shape[1:]))


def _check(counts: Tensor, control: Tensor, samples: int, level: float) -> None:
    shape = tuple(counts.shape)
    if len(shape) < 2 or shape[0] == 0:
        raise ValueError(f"counts must have shape (N, ...) with N at least 1, got {shape}")
    if control.shape != counts.shape:
        raise ValueError(f"control must have the shape of counts, {shape}, got {tuple(control.shape)}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")


def _check_same_truth(confusions: Tensor, control: Tensor) -> None:
    shape = tuple(confusions.shape)
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"counts must be confusion matrices of shape (N, C, C) for mean_iou, got {shape}")
    differs = (confusions.sum(2) != control.sum(2)).any(1)
    if differs.any():
        raise ValueError(
            "counts and control must come from the same images in the same order, but the true class counts of "
            f"image {int(differs.nonzero()[0])} differ"
        )
