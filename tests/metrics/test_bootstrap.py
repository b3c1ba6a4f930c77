import numpy as np
import pytest
import torch
from torch import Tensor

from segaware.metrics import mean_boundary_iou, mean_iou, paired_bootstrap


def simulated(generator: np.random.Generator, num_images: int, accuracy: float, truth: np.ndarray) -> Tensor:
    """Confusion matrices of a method that is right with this probability (less in hard images), else guesses."""
    hardness = generator.uniform(0, 0.4, num_images)
    num_classes = truth.shape[1]
    confusions = np.zeros((num_images, num_classes, num_classes), dtype=np.int64)
    for image in range(num_images):
        right = accuracy - hardness[image]
        table = np.full((num_classes, num_classes), (1 - right) / (num_classes - 1))
        np.fill_diagonal(table, right)
        for true_class in range(num_classes):
            confusions[image, true_class] = generator.multinomial(truth[image, true_class], table[true_class])
    return torch.from_numpy(confusions)


def two_methods(seed: int, num_images: int) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(20, 200, (num_images, 3))
    return simulated(generator, num_images, 0.9, truth), simulated(generator, num_images, 0.85, truth)


def test_equals_a_loop_over_resamples() -> None:
    better, worse = two_methods(seed=0, num_images=7)
    interval = paired_bootstrap(better, worse, samples=50, seed=3, level=0.8)
    differences = []
    for times in np.random.default_rng(3).multinomial(7, [1 / 7] * 7, size=50):
        image = torch.from_numpy(np.repeat(np.arange(7), times))
        differences.append((mean_iou(better[image].sum(0)) - mean_iou(worse[image].sum(0))).item())
    assert interval.difference == (mean_iou(better.sum(0)) - mean_iou(worse.sum(0))).item()
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(differences, [10, 90])))


def test_another_statistic_equals_a_loop_over_resamples() -> None:
    """Intersections and unions, by a loop of numpy alone."""
    generator = np.random.default_rng(0)
    unions = generator.integers(50, 90, (6, 1, 4))
    better, worse = (np.concatenate([unions - generator.integers(0, lost, (6, 1, 4)), unions], 1) for lost in (20, 40))
    interval = paired_bootstrap(
        torch.from_numpy(better), torch.from_numpy(worse), mean_boundary_iou, samples=50, seed=3, level=0.8
    )

    def score(counts: np.ndarray) -> float:
        intersection, union = counts.sum(0)
        return float((intersection / union).mean())

    differences = []
    for times in np.random.default_rng(3).multinomial(6, [1 / 6] * 6, size=50):
        image = np.repeat(np.arange(6), times)
        differences.append(score(better[image]) - score(worse[image]))
    assert interval == pytest.approx((score(better) - score(worse), *np.percentile(differences, [10, 90])))
    assert interval.low < interval.difference < interval.high


def test_identical_methods_differ_by_exactly_nothing() -> None:
    confusions, _ = two_methods(seed=0, num_images=9)
    assert paired_bootstrap(confusions, confusions.clone()) == (0.0, 0.0, 0.0)


def test_uniformly_better_method_is_surely_better() -> None:
    worse, _ = two_methods(seed=1, num_images=30)
    better = worse.clone()
    better[:, 0, 1] -= worse[:, 0, 1].clamp(max=2)
    better[:, 0, 0] += worse[:, 0, 1].clamp(max=2)
    # A hair's breadth next to the spread between images, seen only because the draws are paired.
    interval = paired_bootstrap(better, worse)
    assert 0 < interval.low < interval.difference < interval.high < 0.02


def test_interval_covers_the_truth() -> None:
    better, worse = two_methods(seed=2, num_images=20_000)
    truth = (mean_iou(better.sum(0)) - mean_iou(worse.sum(0))).item()
    covered = 0
    for chunk in range(200):
        images = slice(40 * chunk, 40 * chunk + 40)
        interval = paired_bootstrap(better[images], worse[images], samples=300, seed=chunk, level=0.8)
        covered += interval.low <= truth <= interval.high
    assert 0.7 < covered / 200 < 0.9


def test_same_seed_same_interval() -> None:
    methods = two_methods(seed=0, num_images=9)
    assert paired_bootstrap(*methods, seed=5) == paired_bootstrap(*methods, seed=5)
    assert paired_bootstrap(*methods, seed=5) != paired_bootstrap(*methods, seed=6)


def test_bad_input_is_named() -> None:
    better, worse = two_methods(seed=0, num_images=4)
    with pytest.raises(ValueError, match=r"counts must be confusion matrices of shape \(N, C, C\) .*, got \(3, 3\)"):
        paired_bootstrap(better[0], worse[0])
    with pytest.raises(ValueError, match=r"counts must be confusion matrices .*, got \(4, 2, 3\)"):
        paired_bootstrap(better[:, :2], worse[:, :2])
    with pytest.raises(ValueError, match=r"counts must have shape \(N, ...\) with N at least 1, got \(0, 3, 3\)"):
        paired_bootstrap(better[:0], worse[:0])
    with pytest.raises(ValueError, match=r"counts must have shape \(N, ...\) with N at least 1, got \(4,\)"):
        paired_bootstrap(better[:, 0, 0], worse[:, 0, 0], mean_boundary_iou)
    with pytest.raises(ValueError, match=r"control must have the shape of counts, \(4, 3, 3\), got \(3, 3, 3\)"):
        paired_bootstrap(better, worse[:3])
    with pytest.raises(ValueError, match=r"control must have the shape of counts, \(4, 2, 3\), got \(3, 2, 3\)"):
        paired_bootstrap(better[:, :2], worse[:3, :2], mean_boundary_iou)
    with pytest.raises(ValueError, match="same images in the same order, but the true class counts of image 0 differ"):
        paired_bootstrap(better, worse.flip(0))
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        paired_bootstrap(better, worse, samples=0)
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        paired_bootstrap(better, worse, level=95)


def test_seeds_are_drawn_too() -> None:
    """Two trainings of each method: a draw is one of images and one of seeds, both the same for both methods."""
    pairs = [two_methods(seed, num_images=5) for seed in (0, 1)]
    generator = np.random.default_rng(3)
    images = generator.multinomial(5, [1 / 5] * 5, size=40)
    seeds = generator.multinomial(2, [1 / 2] * 2, size=40)

    def difference(pair: tuple[Tensor, Tensor], chosen: list[int]) -> float:
        better, worse = (mean_iou(counts[chosen].sum(0)).item() for counts in pair)
        return better - worse

    differences = []
    for times, often in zip(images, seeds, strict=True):
        chosen = [image for image in range(5) for _ in range(times[image])]
        drawn = [seed for seed in range(2) for _ in range(often[seed])]
        differences.append(np.mean([difference(pairs[seed], chosen) for seed in drawn]))
    better, worse = zip(*pairs, strict=True)
    interval = paired_bootstrap(better, worse, samples=40, seed=3, level=0.8)
    assert interval.difference == pytest.approx(np.mean([difference(pair, list(range(5))) for pair in pairs]))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(differences, [10, 90])))


def test_one_seed_in_a_list_is_as_without() -> None:
    better, worse = two_methods(0, 6)
    assert paired_bootstrap([better], [worse]) == pytest.approx(paired_bootstrap(better, worse), abs=1e-15)


def test_seeds_must_be_of_the_same_images() -> None:
    (first, control), (second, other) = two_methods(0, 5), two_methods(0, 6)
    with pytest.raises(ValueError, match=r"the same images for every seed, got \[5, 6\]"):
        paired_bootstrap([first, second], [control, other])
