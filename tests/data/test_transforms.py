import colorsys

import numpy as np
import pytest
import torch

from segaware.data import ColorJitter, Compose, RandomCrop, RandomFlip, RandomScale, Sample


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def coded(height: int, width: int) -> Sample:
    """Red encodes the label, green the row and blue the column, so that any misalignment shows."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    label = (rows * 3 + columns * 5) % 7
    return Sample(torch.stack([label / 10, rows / 100, columns / 100]), label, "coded")


def test_crop_is_an_aligned_window():
    sample, corners = coded(9, 12), set()
    for _ in range(200):
        crop = RandomCrop(4, 5)(sample)
        top, left = round(crop.image[1, 0, 0].item() * 100), round(crop.image[2, 0, 0].item() * 100)
        torch.testing.assert_close(crop.image, sample.image[:, top : top + 4, left : left + 5])
        torch.testing.assert_close(crop.label, sample.label[top : top + 4, left : left + 5])
        corners.add((top, left))
    assert {top for top, _ in corners} == set(range(6)) and {left for _, left in corners} == set(range(8))


def test_small_images_are_padded_at_bottom_and_right():
    sample = coded(3, 8)
    crop = RandomCrop(5, 6)(sample)
    left = round(crop.image[2, 0, 0].item() * 100)
    torch.testing.assert_close(crop.image[:, :3], sample.image[:, :, left : left + 6])
    torch.testing.assert_close(crop.label[:3], sample.label[:, left : left + 6])
    assert (crop.label[3:] == 255).all()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1).expand(3, 2, 6)
    torch.testing.assert_close(crop.image[:, 3:], mean)


def test_flip_mirrors_both():
    sample = coded(4, 5)
    flipped = RandomFlip(1.0)(sample)
    for column in range(5):
        torch.testing.assert_close(flipped.image[:, :, column], sample.image[:, :, 4 - column])
        torch.testing.assert_close(flipped.label[:, column], sample.label[:, 4 - column])
    assert RandomFlip(0.0)(sample) is sample
    count = sum(RandomFlip(0.3)(sample) is not sample for _ in range(1000))
    assert 250 < count < 350


@pytest.mark.parametrize("factor", [0.5, 0.63, 1.0, 1.7, 2.0, 3.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_scale_keeps_image_and_label_aligned(factor, axis):
    bands = (torch.arange(60) // 12 % 2).unsqueeze(1 - axis).expand((60, 45) if axis == 0 else (45, 60))
    scaled = RandomScale(factor, factor)(Sample(bands.float().expand(3, -1, -1), bands, "bands"))
    assert scaled.label.shape[axis] == round(60 * factor) and scaled.label.shape[1 - axis] == round(45 * factor)
    # Bilinear weights are symmetric, so the colour must cross half-way exactly where the label changes.
    red = scaled.image[0]
    decided = abs(red - 0.5) > 1e-3
    assert torch.equal((red > 0.5).long()[decided], scaled.label[decided])
    assert decided.float().mean() > 0.8


def test_scale_draws_its_factor_and_keeps_ignore():
    sample = coded(100, 40)._replace(label=torch.full((100, 40), 255))
    heights = [RandomScale(0.5, 1.5)(sample).label.shape[0] for _ in range(300)]
    assert min(heights) in range(50, 54) and max(heights) in range(147, 151)
    assert abs(np.mean(heights) - 100) < 5
    assert RandomScale(0.5, 0.5)(sample).label.unique().tolist() == [255]


def jittered(sample: Sample, factors: tuple[float, float, float], monkeypatch) -> torch.Tensor:
    """Apply ColorJitter(0.5) with given factors."""
    draws = iter([torch.tensor(factor - 0.5) for factor in factors])
    monkeypatch.setattr(torch, "rand", lambda size: next(draws))
    return ColorJitter(0.5)(sample).image


def test_jitter_scales_brightness(monkeypatch):
    sample = coded(4, 5)
    torch.testing.assert_close(jittered(sample, (1.3, 1.0, 1.0), monkeypatch), sample.image * 1.3)


def test_jitter_scales_contrast_about_the_mean_gray(monkeypatch):
    sample = coded(4, 5)
    image = sample.image.double().numpy()
    gray = np.mean(0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2])
    result = jittered(sample, (1.0, 0.6, 1.0), monkeypatch)
    np.testing.assert_allclose(result.numpy(), gray + 0.6 * (image - gray), atol=1e-6)


def test_jitter_scales_saturation_at_constant_luma(monkeypatch):
    image = torch.tensor([0.6, 0.4, 0.5]).view(3, 1, 1)
    sample = Sample(image, torch.zeros(1, 1, dtype=torch.int64), "pink")
    result = jittered(sample, (1.0, 1.0, 0.5), monkeypatch).flatten().tolist()
    before, after = colorsys.rgb_to_yiq(0.6, 0.4, 0.5), colorsys.rgb_to_yiq(*result)
    assert after[0] == pytest.approx(before[0], abs=2e-3)
    assert after[1:] == pytest.approx((before[1] / 2, before[2] / 2), abs=2e-3)


def test_jitter_stays_in_range_and_leaves_the_label():
    sample = Sample(torch.rand(3, 6, 6), torch.arange(36).view(6, 6), "noise")
    images = []
    for _ in range(50):
        result = ColorJitter(1.0)(sample)
        assert result.image.min() >= 0 and result.image.max() <= 1 and result.label is sample.label
        images.append(result.image.mean().item())
    assert np.std(images) > 0.05
    torch.testing.assert_close(ColorJitter(0.0)(sample).image, sample.image)


def test_compose_applies_in_order_and_follows_the_seed():
    transform = Compose([RandomScale(0.5, 2.0), RandomCrop(10, 14), RandomFlip(0.5), ColorJitter(0.4)])
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append([transform(coded(20, 20)) for _ in range(3)])
    for first, second in zip(*results, strict=True):
        assert torch.equal(first.image, second.image) and torch.equal(first.label, second.label)
        assert first.label.shape == (10, 14) and first.name == "coded"
    assert not torch.equal(results[0][0].image, results[0][1].image)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomScale(0, 1), "got low=0, high=1"),
        (lambda: RandomScale(2, 1), "got low=2, high=1"),
        (lambda: RandomScale(1, float("inf")), "finite"),
        (lambda: RandomScale(float("nan"), 1), "finite"),
        (lambda: RandomCrop(0, 4), "got height=0, width=4"),
        (lambda: RandomFlip(1.1), "got 1.1"),
        (lambda: ColorJitter(-0.1), "got -0.1"),
    ],
)
def test_constructors_refuse(build, message):
    with pytest.raises(ValueError, match=message):
        build()
