import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

from segaware.metrics import (
    PixelPairs,
    area_under_curve,
    border_distance,
    pairs_by_border,
    pairs_by_distance,
    separability,
)

BENT = (np.add.outer(np.arange(60) ** 2 / 40, np.arange(80)) // 30).astype(np.int64)  # three regions, bent borders


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def places(index: Tensor, width: int) -> np.ndarray:
    return np.stack([index.numpy() // width, index.numpy() % width], 1)


def ends(pairs: PixelPairs, label: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return places(pairs.first, label.shape[1]), places(pairs.second, label.shape[1])


@pytest.mark.parametrize("levels", [3, 1000])  # many ties, and hardly any
def test_area_is_that_of_mann_and_whitney(levels: int) -> None:
    for seed in range(20):
        draw = rng(seed)
        negative, positive = draw.integers(levels, size=40), draw.integers(levels // 3, levels + 1, size=25)
        wanted = mannwhitneyu(positive, negative).statistic / (40 * 25)
        got = area_under_curve(torch.from_numpy(negative).float(), torch.from_numpy(positive).float())
        assert got == pytest.approx(wanted, abs=1e-12)


def test_area_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="got 0 negative and 2 positive"):
        area_under_curve(torch.empty(0), torch.ones(2))


def test_separability_equals_a_loop_over_all_pairs_of_pairs() -> None:
    label = torch.from_numpy(BENT)
    embedding = label + torch.from_numpy(rng(1).normal(size=(4, *BENT.shape)))
    for pairs in pairs_by_distance(label, (1, 9), 60, rng()) + pairs_by_border(label, (1, 4), 60, rng()):
        distances: dict[bool, list[float]] = {False: [], True: []}
        for p, q, is_different in zip(*ends(pairs, label), pairs.is_different.tolist(), strict=True):
            distances[is_different].append(float((embedding[:, p[0], p[1]] - embedding[:, q[0], q[1]]).abs().sum()))
        won = [(d > s) + (d == s) / 2 for d in distances[True] for s in distances[False]]
        assert 0.5 < separability(embedding, pairs) < 1
        assert separability(embedding, pairs) == pytest.approx(sum(won) / len(won), abs=1e-3)  # summed in float32


def test_pairs_are_as_far_apart_as_asked_and_of_the_kind_they_say() -> None:
    label = torch.from_numpy(BENT)
    for distance, pairs in zip((1, 5, 30), pairs_by_distance(label, (1, 5, 30), 200, rng()), strict=True):
        p, q = ends(pairs, label)
        apart = np.linalg.norm(p - q, axis=1)
        assert abs(apart - distance).max() <= math.sqrt(0.5)
        assert apart.mean() == pytest.approx(distance, rel=0.25)
        np.testing.assert_array_equal(pairs.is_different, BENT[tuple(p.T)] != BENT[tuple(q.T)])
        assert pairs.is_different.sum() == (~pairs.is_different).sum() == 200


def test_no_pair_is_farther_apart_than_the_image() -> None:
    (pairs,) = pairs_by_distance(torch.from_numpy(BENT), (101,), 200, rng())
    assert len(pairs.first) == 0
    assert math.isnan(separability(torch.zeros(1, *BENT.shape), pairs))


@pytest.mark.parametrize("outline", [0, 5])
def test_pairs_at_a_border_differ_in_their_side_alone(outline: int) -> None:
    """Both kinds have the same first pixels and lengths, and second pixels of about the same distance to the border."""
    label = torch.from_numpy(BENT)
    if outline:
        label = torch.where(border_distance(label) <= outline // 2, 255, label)
    ring = border_distance(label).numpy()
    for distance, pairs in zip((1, 3, 5), pairs_by_border(label, (1, 3, 5), 300, rng()), strict=True):
        p, q = ends(pairs, label)
        different = pairs.is_different.numpy()
        assert len(p) >= 200 and different.sum() == (~different).sum()
        np.testing.assert_array_equal(different, label.numpy()[tuple(p.T)] != label.numpy()[tuple(q.T)])
        np.testing.assert_array_equal(p[different], p[~different])
        np.testing.assert_array_equal(*(np.sort(abs(p - q)[kind], axis=1) for kind in (different, ~different)))
        length = abs(p - q)[different].max(1)
        assert 2 * distance - 1 <= length.min() and length.max() <= 2 * distance + 7
        assert (ring[tuple(p.T)] == distance).all() and (ring[tuple(q[different].T)] == distance).all()
        assert abs(ring[tuple(q[~different].T)] - distance).mean() < (1 if not outline else 2)


def test_straight_border() -> None:
    """Across it lies the pixel opposite, and beside one up or down."""
    label = torch.arange(40).expand(30, 40) // 20
    (pairs,) = pairs_by_border(label, (4,), 500, rng())
    p, q = ends(pairs, label)
    different = pairs.is_different.numpy()
    assert set(map(tuple, (q - p)[different])) == {(0, 7), (0, -7)}
    assert set(map(tuple, (q - p)[~different])) == {(7, 0), (-7, 0)}


def test_void_makes_no_pairs() -> None:
    label = torch.from_numpy(BENT.copy())
    label[label == 1] = 255
    label[:5] = 255
    for pairs in pairs_by_distance(label, (1, 40), 300, rng()) + pairs_by_border(label, (1, 2), 300, rng()):
        for place in ends(pairs, label):
            assert (label.numpy()[tuple(place.T)] != 255).all()
    assert pairs_by_distance(label, (40,), 300, rng())[0].is_different.any()  # across the void
    nothing = torch.full((30, 40), 255)
    assert [
        len(p.first) for p in (*pairs_by_distance(nothing, (1,), 9, rng()), *pairs_by_border(nothing, (1,), 9, rng()))
    ] == [0, 0]


def test_two_pixels_of_the_ground_make_no_pair() -> None:
    label = torch.from_numpy(BENT)
    for draw in (pairs_by_distance, pairs_by_border):
        for with_ground, pairs in (
            (False, draw(label, (2,), 300, rng())),
            (True, draw(label, (2,), 300, rng(), ground_index=0)),
        ):
            one, other = (label.flatten()[index] for index in pairs[0][:2])
            assert ((one == 0) & (other == 0)).any() != with_ground
            assert (one != other).any() and ((one == 0) ^ (other == 0)).any()


def test_one_region_has_same_pairs_alone() -> None:
    label = torch.zeros(30, 40, dtype=torch.uint8)
    near, border = pairs_by_distance(label, (3,), 50, rng())[0], pairs_by_border(label, (3,), 50, rng())[0]
    assert len(near.first) == 50 and not near.is_different.any() and len(border.first) == 0
    assert math.isnan(separability(torch.rand(2, 30, 40), near))


def test_same_seed_same_pairs() -> None:
    label = torch.from_numpy(BENT)
    for draw in (pairs_by_distance, pairs_by_border):
        one, again, other = (draw(label, (2,), 100, rng(seed))[0] for seed in (3, 3, 4))
        assert torch.equal(one.first, again.first) and torch.equal(one.second, again.second)
        assert not torch.equal(one.first, other.first)


@pytest.mark.parametrize("draw", [pairs_by_distance, pairs_by_border])
def test_arguments_of_pairs(draw: Callable[..., list[PixelPairs]]) -> None:
    label = torch.from_numpy(BENT)
    with pytest.raises(ValueError, match=r"label must have shape \(H, W\).*got \(1, 60, 80\)"):
        draw(label[None], (1,), 9, rng())
    with pytest.raises(ValueError, match="label must hold integer classes"):
        draw(label.float(), (1,), 9, rng())
    with pytest.raises(ValueError, match=r"label must be 0 or more.*got -1"):
        draw(label - 1, (1,), 9, rng())
    for distances in ((), (0,), (1, 2.5)):
        with pytest.raises(ValueError, match="distances must be integers of at least 1"):
            draw(label, distances, 9, rng())
    with pytest.raises(ValueError, match="count must be an int of at least 1, got 0"):
        draw(label, (1,), 0, rng())


def test_arguments_of_separability() -> None:
    label = torch.from_numpy(BENT)
    (pairs,) = pairs_by_distance(label, (5,), 100, rng())
    with pytest.raises(ValueError, match=r"embedding must be a floating-point tensor of shape \(E, H, W\)"):
        separability(torch.zeros(1, 3, 60, 80), pairs)
    with pytest.raises(ValueError, match="of the size of the label map"):
        separability(torch.zeros(3, 30, 40), pairs)
    with pytest.raises(ValueError, match="embedding must be finite"):
        separability(torch.full((3, 60, 80), math.nan), pairs)
