"""Losses over pairs at random offsets, against loops of NumPy."""

import numpy as np
import pytest
import torch

from segaware.nn import MaskLoss, OffsetPairLoss
from segaware.nn.offset_losses import thinned
from segaware.nn.offsets import Offset, random_offsets


@pytest.mark.parametrize("offset", [Offset(0, 1), Offset(2, -3), Offset(5, 4), Offset(3, 0)])
def test_views_are_the_pixels_of_pairs(offset):
    map = torch.arange(8 * 9).view(1, 8, 9)
    first, second = offset.views(map)
    expected = [
        (map[0, y, x].item(), map[0, y + offset.down, x + offset.right].item())
        for y in range(8)
        for x in range(9)
        if y + offset.down < 8 and 0 <= x + offset.right < 9
    ]
    assert list(zip(first.flatten().tolist(), second.flatten().tolist(), strict=True)) == expected


def test_an_offset_beyond_the_map_has_no_pairs():
    first, second = Offset(9, 2).views(torch.zeros(1, 4, 30))
    assert first.numel() == second.numel() == 0


def test_random_offsets():
    generator = torch.Generator().manual_seed(0)
    many = [random_offsets(64, 5, generator) for _ in range(300)]
    lengths = np.array([[offset.length for offset in offsets] for offsets in many])
    assert np.abs(lengths[:, :3] - [1, 2, 3]).max() < 0.8
    far = lengths[:, 3:]
    assert far.min() > 3 and far.max() < 65
    assert np.median(far) == pytest.approx(16, rel=0.15)  # half of them in 4..16, half in 16..64
    offsets = [offset for each in many for offset in each]
    assert all(o.down > 0 or (o.down == 0 and o.right > 0) for o in offsets)
    assert any(o.right < 0 for o in offsets)


def _loop(embedding, labels, offsets, alpha, beta):
    """Mean over offsets of the mean near and the mean far loss."""
    losses = []
    for offset in offsets:
        near, far = [], []
        step = 2 if offset.length >= 6 else 1
        images, _, height, width = embedding.shape
        left = max(-offset.right, 0)
        for n in range(images):
            for y in range(0, height - offset.down, step):
                for x in range(left, left + width - abs(offset.right), step):
                    a, b = labels[n, y, x], labels[n, y + offset.down, x + offset.right]
                    if 255 in (a, b) or a == b == 254:
                        continue
                    there = embedding[n, :, y + offset.down, x + offset.right]
                    distance = np.abs(embedding[n, :, y, x] - there).sum()
                    (near if a == b else far).append(max(distance - alpha, 0) if a == b else max(beta - distance, 0))
        if near or far:
            losses.append(sum(sum(part) / max(len(part), 1) for part in (near, far)))
    return sum(losses) / max(len(losses), 1)


@pytest.mark.parametrize("size", [(17, 23), (5, 40), (1, 1)])
def test_pair_loss_is_that_of_a_loop(size):
    torch.manual_seed(0)
    embedding = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 254, 255])[torch.randint(4, (2, *size))]
    loss = OffsetPairLoss(0.7, 3.0, radius=20, count=6)
    value = loss(embedding, labels, torch.Generator().manual_seed(3))
    offsets = random_offsets(20, 6, torch.Generator().manual_seed(3))
    assert value.item() == pytest.approx(_loop(embedding.detach().numpy(), labels.numpy(), offsets, 0.7, 3.0))
    value.backward()
    assert embedding.grad.isfinite().all()


def test_ground_is_unlike_regions_and_no_pair_with_itself():
    embedding = torch.zeros(1, 2, 8, 8)
    loss = OffsetPairLoss(count=0)
    ground = torch.full((1, 8, 8), 254)
    _, _, near_pairs, far_pairs = loss.sums(embedding, ground)
    assert near_pairs.sum() == far_pairs.sum() == 0
    assert loss(embedding, ground) == 0
    ground[..., 4:] = 3
    assert loss.sums(embedding, ground)[3].sum() > 0


def test_pair_loss_passes_gradcheck():
    torch.manual_seed(0)
    embedding = torch.randn(1, 2, 7, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(3, (1, 7, 8))
    loss = OffsetPairLoss(radius=6, count=2)
    assert torch.autograd.gradcheck(lambda e: loss(e, labels, torch.Generator().manual_seed(0)), (embedding,))


def test_mask_loss_is_that_of_a_loop():
    torch.manual_seed(0)
    student, teacher = torch.randn(1, 3, 12, 15), torch.randn(1, 5, 12, 15)
    value = MaskLoss(radius=8, count=3)(student, teacher, torch.Generator().manual_seed(1))
    losses = []
    for offset in random_offsets(8, 3, torch.Generator().manual_seed(1)):
        masks = []
        for embedding in (student, teacher):
            first, second = thinned(embedding, offset)
            masks.append(np.exp(-np.abs((first - second).numpy()).sum(1) / 2))
        losses.append(np.abs(masks[0] - masks[1]).mean())
    assert value.item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert MaskLoss()(teacher, teacher) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 2.0, "beta": 1.0}, "alpha and beta must satisfy"),
        ({"radius": 3.0}, "radius must be a number of pixels of at least 4, got 3.0"),
        ({"count": -1}, "count must be"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        OffsetPairLoss(**options)


def test_bad_input():
    with pytest.raises(ValueError, match="labels must be"):
        OffsetPairLoss()(torch.zeros(1, 2, 8, 8), torch.zeros(1, 8, 9, dtype=torch.int64))
    with pytest.raises(ValueError, match="teacher must embed the pixels of student"):
        MaskLoss()(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 9))
