"""Masks that training spoils."""

import torch

from segaware.training.degraded import border_weight, degraded_masks


def _labels():
    labels = torch.full((3, 60, 80), 254)
    labels[0, 10:40, 20:50] = 1  # an object before a ground
    labels[1, :, :40], labels[1, :, 40:] = 4, 7  # two regions
    labels[2] = 255
    labels[0, :5] = 255
    return labels


def test_masks_are_of_regions_and_reproducible():
    labels = _labels()
    masks = degraded_masks(labels, 40, torch.Generator().manual_seed(0))
    again = degraded_masks(labels, 40, torch.Generator().manual_seed(0))
    assert torch.equal(masks.probability, again.probability)
    assert (masks.target[0] == (labels[0] == 1)).all()
    left, right = ((masks.target[1] == (labels[1] == region)).flatten(1).all(1) for region in (4, 7))
    both = masks.target[1].flatten(1).all(1)
    assert (left | right | both).all() and left.any() and right.any()
    assert torch.equal(masks.known[:, 0], labels != 255)
    assert not masks.target[2].any()
    assert masks.probability.isfinite().all() and masks.probability.min() >= 0 and masks.probability.max() <= 1


def test_some_masks_stay_sharp_and_the_others_tell_of_the_mask():
    masks = degraded_masks(_labels()[:1], 200, torch.Generator().manual_seed(1))
    sharp = ((masks.probability - masks.target).abs() - 0.02).abs().amax((0, 2, 3)) < 1e-6
    assert 0.06 < sharp.float().mean() < 0.2
    inside = masks.target[0, 0] > 0
    assert masks.probability[0][:, inside].mean() > 0.6 > 0.3 > masks.probability[0][:, ~inside].mean()


def test_borders_weigh_more():
    target = torch.zeros(1, 1, 9, 40)
    target[..., 20:] = 1
    assert border_weight(target)[0, 0, 0].tolist() == [1] * 12 + [3] * 5 + [9] * 6 + [3] * 5 + [1] * 12
