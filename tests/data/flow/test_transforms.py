"""A transformed flow is right if it warps the transformed image 2 onto the transformed image 1."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from segaware.data import Compose
from segaware.data.flow import (
    FlowColorJitter,
    FlowRandomAffine,
    FlowRandomCrop,
    FlowRandomFlip,
    FlowSample,
    FlowTransform,
)

HEIGHT, WIDTH = 60, 84
# The paper's values, and a relative motion of about the size that moving pixels have in `moving_pair`.
AFFINE = FlowRandomAffine((0.9, 2.0), 17, 0.2, 0.03, 2, 3)
COLOR = FlowColorJitter(brightness=0.2, contrast=(0.2, 1.4), gamma=(0.7, 1.5), color=(0.5, 2.0), noise=0.04)
STILL = FlowRandomAffine((1, 1), 0, 0, 0, 0, 0)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def texture(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth image, (3, H, W), at any points."""
    waves = np.random.default_rng(0)
    image = np.zeros((3, *x.shape))
    for channel in image:
        for _ in range(5):
            angle, phase = waves.uniform(0, 2 * np.pi, 2)
            frequency = 2 * np.pi / waves.uniform(24, 48)
            channel += 0.1 * np.sin(frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    return image + 0.5


def moving_pair() -> FlowSample:
    """A plane that grows by 4 %, turns by 4 degrees and shifts: both images and the flow are exact."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    turn = 1.04 * np.exp(1j * np.radians(4))
    z, center, shift = x + 1j * y, 40 + 30j, 5 - 3j
    moved = center + turn * (z - center) + shift
    source = center + (z - center - shift) / turn
    flow = np.stack([moved.real - x, moved.imag - y])
    leaves = (moved.real < 0) | (moved.real > WIDTH - 1) | (moved.imag < 0) | (moved.imag > HEIGHT - 1)
    images = [texture(x, y), texture(source.real, source.imag)]
    image1, image2 = (torch.tensor(image, dtype=torch.float32) for image in images)
    valid = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    return FlowSample(image1, image2, torch.tensor(flow).float(), valid, torch.tensor(leaves), "plane")


def constant_pair(u: float, v: float, height: int = 12, width: int = 16) -> FlowSample:
    """Noise with the same flow everywhere, and nothing said about occlusion."""
    flow = torch.tensor([u, v]).view(2, 1, 1).repeat(1, height, width)
    mask = torch.zeros(height, width, dtype=torch.bool)
    return FlowSample(torch.rand(3, height, width), torch.rand(3, height, width), flow, ~mask, mask, "noise")


def warp_errors(sample: FlowSample) -> np.ndarray:
    """What is left of image 1 minus image 2, fetched along the flow, where that is visible."""
    image1, image2, flow, valid, occluded, _ = sample
    u, v = flow.double().numpy()
    y, x = np.mgrid[: u.shape[0], : u.shape[1]]
    warped = [map_coordinates(channel, [y + v, x + u], order=1, mode="nearest") for channel in image2.double().numpy()]
    return abs(np.stack(warped) - image1.double().numpy()).max(0)[(valid & ~occluded).numpy()]


def same(first: FlowSample, second: FlowSample) -> bool:
    return first.name == second.name and all(
        torch.equal(map1, map2) and map1.dtype == map2.dtype for map1, map2 in zip(first[:5], second[:5], strict=True)
    )


def draw(monkeypatch: pytest.MonkeyPatch, uniform: list[float], normal: list[float]) -> None:
    """Let torch's scalar random numbers be these."""
    uniform_draws, normal_draws = iter(uniform), iter(normal)
    monkeypatch.setattr(torch, "rand", lambda size: torch.tensor(next(uniform_draws)))
    monkeypatch.setattr(torch, "randn", lambda size: torch.tensor(next(normal_draws)))


@pytest.mark.parametrize(
    "transform",
    [
        STILL,
        FlowRandomCrop(40, 50),
        FlowRandomCrop(70, 50),
        FlowRandomFlip(1, 0),
        FlowRandomFlip(0, 1),
        FlowRandomFlip(1, 1),
        FlowRandomAffine((1.5, 1.5), 0, 0, 0, 0, 0),
        FlowRandomAffine((1, 1), 30, 0, 0, 0, 0),
        FlowRandomAffine((1, 1), 0, 0.3, 0, 0, 0),
        FlowRandomAffine((1, 1), 0, 0, 0.05, 0, 0),
        FlowRandomAffine((1, 1), 0, 0, 0, 5, 0),
        FlowRandomAffine((1, 1), 0, 0, 0, 0, 5),
        AFFINE,
        Compose([AFFINE, FlowRandomFlip(0.5, 0.5), FlowRandomCrop(48, 64)]),
    ],
)
def test_flow_warps_image2_onto_image1(transform: FlowTransform) -> None:
    for _ in range(5):
        sample = transform(moving_pair())
        errors = warp_errors(sample)
        assert errors.size > 0.3 * sample.valid.numel()
        assert errors.mean() < 0.003 and errors.max() < 0.04
        assert warp_errors(sample._replace(flow=-sample.flow)).mean() > 0.1


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32),
    st.floats(0.8, 1.5),
    st.floats(1, 1.5),
    st.tuples(st.floats(0, 180), st.floats(0, 0.2), st.floats(0, 0.04), st.floats(0, 4), st.floats(0, 4)),
)
def test_any_affine_warps(seed: int, low: float, factor: float, strengths: tuple[float, ...]) -> None:
    torch.manual_seed(seed)
    errors = warp_errors(FlowRandomAffine((low, low * factor), *strengths)(moving_pair()))
    assert errors.size > 0.1 * HEIGHT * WIDTH
    assert errors.mean() < 0.004 and errors.max() < 0.06


@pytest.mark.parametrize(("horizontal", "vertical"), [(1, 0), (0, 1), (1, 1)])
def test_flip_changes_the_sign_of_what_it_mirrors(horizontal: int, vertical: int) -> None:
    sample = moving_pair()
    flipped = FlowRandomFlip(horizontal, vertical)(sample)
    dims = [-1] * horizontal + [-2] * vertical
    for before, after in zip(sample[:5], flipped[:5], strict=True):
        assert torch.equal(before.flip(dims).float().abs(), after.float().abs())
    unchanged = flipped._replace(flow=sample.flow.flip(dims))
    assert warp_errors(unchanged).mean() > 0.1
    assert FlowRandomFlip(0, 0)(sample) is sample


def test_flips_have_their_own_probabilities() -> None:
    sample = constant_pair(1.0, 1.0, 2, 3)
    signs = torch.stack([FlowRandomFlip(0.3, 0.6)(sample).flow[:, 0, 0] for _ in range(500)])
    horizontal, vertical = (signs < 0).float().mean(0).tolist()
    assert abs(horizontal - 0.3) < 0.07 and abs(vertical - 0.6) < 0.07
    assert abs(((signs < 0).all(1)).float().mean() - 0.18) < 0.06


def test_crop_is_the_same_window_of_everything() -> None:
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(12.0), indexing="ij")
    code = torch.stack([y, x, y + x]) / 100
    sample = FlowSample(code, code / 2, code[:2], (y + x) % 2 > 0, (y + 2 * x) % 3 > 0, "coded")
    corners = set()
    for _ in range(200):
        crop = FlowRandomCrop(4, 5)(sample)
        top, left = (round(place * 100) for place in crop.image1[:2, 0, 0].tolist())
        for whole, window in zip(sample[:4], crop[:4], strict=True):
            assert torch.equal(window, whole[..., top : top + 4, left : left + 5])
        # No flow here is as long as half a pixel.
        assert torch.equal(crop.occluded, sample.occluded[top : top + 4, left : left + 5])
        corners.add((top, left))
    assert {top for top, _ in corners} == set(range(6)) and {left for _, left in corners} == set(range(8))


def test_what_leaves_the_window_is_occluded() -> None:
    crop = FlowRandomCrop(6, 8)(constant_pair(3.0, -2.0))
    visible = torch.zeros(6, 8, dtype=torch.bool)
    visible[2:, :5] = True
    assert torch.equal(crop.occluded, ~visible) and crop.valid.all()
    unknown = constant_pair(3.0, -2.0)._replace(valid=torch.zeros(12, 16, dtype=torch.bool))
    assert not FlowRandomCrop(6, 8)(unknown).occluded.any()


def test_small_images_are_padded_at_bottom_and_right() -> None:
    sample = constant_pair(1.0, 2.0, 3, 8)
    crop = FlowRandomCrop(6, 10)(sample)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    for before, after in ((sample.image1, crop.image1), (sample.image2, crop.image2)):
        assert torch.equal(after[:, :3, :8], before)
        assert torch.equal(after[:, 3:], mean.expand(3, 3, 10)) and torch.equal(after[:, :, 8:], mean.expand(3, 6, 2))
    assert torch.equal(crop.flow[:, :3, :8], sample.flow) and crop.flow.abs().sum() == sample.flow.abs().sum()
    assert crop.valid[:3, :8].all() and crop.valid.sum() == 24
    # Only the first row moves by two rows and stays in the image; what moves into the padding is not shown.
    assert crop.occluded.nonzero().tolist() == [[0, 7]] + [[y, x] for y in (1, 2) for x in range(8)]


def test_affine_by_whole_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    height, width = 12, 16
    sample = constant_pair(3.0, 1.0)
    sample.valid[8, 5], sample.flow[:, 8, 5], sample.occluded[6, 5] = False, 0.0, True
    # Image 1 moves by (4, -3), image 2 by (2, -1) more.
    draw(monkeypatch, [0.5, 0.5, 1.0, 0.0], [0.0, 0.0, 1.0, -0.5])
    moved = FlowRandomAffine((1, 1), 0, 0.25, 0, 0, 2)(sample)
    for y, x in np.ndindex(height, width):
        image1 = sample.image1[:, min(y + 3, height - 1), max(x - 4, 0)]
        image2 = sample.image2[:, min(y + 4, height - 1), max(x - 6, 0)]
        torch.testing.assert_close(moved.image1[:, y, x], image1)
        torch.testing.assert_close(moved.image2[:, y, x], image2)
        from_outside = y + 3 >= height or x - 4 < 0
        valid = not from_outside and bool(sample.valid[y + 3, x - 4])
        target_is_new = x - 4 + 3 < 0 or y + 3 + 1 >= height
        target_leaves = x + 3 + 2 >= width or y + 1 - 1 < 0
        occluded = (y, x) == (3, 9) or (valid and (target_is_new or target_leaves))
        assert bool(moved.valid[y, x]) == valid and bool(moved.occluded[y, x]) == occluded, (y, x)
        torch.testing.assert_close(moved.flow[:, y, x], torch.tensor([5.0, 0.0]) * valid)


def test_affine_does_not_mix_motions() -> None:
    sample = constant_pair(4.0, 1.0, 30, 40)
    sample.flow[:, :, 20:] = torch.tensor([-3.0, 2.0]).view(2, 1, 1)
    sample.flow[:, 10:15], sample.valid[10:15] = 0.0, False
    for _ in range(20):
        moved = FlowRandomAffine((0.9, 2.0), 17, 0.1, 0, 0, 0)(sample)
        assert len(moved.flow[:, moved.valid].unique(dim=1).T) == 2
        assert (moved.flow[:, ~moved.valid] == 0).all()


def test_affine_draws_from_its_ranges() -> None:
    """With a constant flow and nothing relative, the flow turns and grows as image 1 does."""
    transform = FlowRandomAffine((0.9, 2.0), 17, 0.2, 0, 0, 0)
    flows = [transform(constant_pair(2.0, 0.0)).flow[:, 6, 8] for _ in range(400)]
    u, v = torch.stack(flows).double().T.numpy()
    scales, angles = np.hypot(u, v) / 2, np.degrees(np.arctan2(v, u))
    assert 0.9 <= scales.min() < 0.95 and 1.95 < scales.max() <= 2.0
    assert -17 <= angles.min() < -16 and 16 < angles.max() <= 17
    assert abs(scales.mean() - 1.45) < 0.06 and abs(angles.mean()) < 2


def test_affine_shifts_by_a_fraction_of_each_side() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(40.0), indexing="ij")
    sample = constant_pair(0.0, 0.0, 20, 40)._replace(image1=torch.stack([x, y, x]) / 40)
    transform = FlowRandomAffine((1, 1), 0, 0.2, 0, 0, 0)
    centers = torch.stack([transform(sample).image1[:2, 10, 20] for _ in range(300)])
    shift_x, shift_y = (torch.tensor([20, 10]) - 40 * centers).T
    assert -8.01 < shift_x.min() < -7.5 and 7.5 < shift_x.max() < 8.01
    assert -4.01 < shift_y.min() < -3.75 and 3.75 < shift_y.max() < 4.01


@pytest.mark.parametrize("strengths", [(0.1, 0, 0), (0, 5, 0), (0, 0, 3)])
def test_relative_motion_is_normal(strengths: tuple[float, float, float]) -> None:
    """Still images, so the flow is the relative motion alone."""
    measured = []
    for _ in range(500):
        u, v = FlowRandomAffine((1, 1), 0, 0, *strengths)(constant_pair(0.0, 0.0)).flow.double().numpy()
        motion = u + 1j * v
        growth = 1 + (motion[0, -1] - motion[0, 0]) / 15
        center = motion.mean()
        measured.append([math.log(abs(growth)), np.degrees(np.angle(growth)), center.real, center.imag])
    spread = np.std(measured, axis=0)
    np.testing.assert_allclose(spread, [*strengths, strengths[-1]], rtol=0.1, atol=1e-6)
    assert (abs(np.mean(measured, axis=0)) <= 0.15 * spread + 1e-6).all()


def test_colors_change_alike_and_as_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = constant_pair(1.0, 0.0)
    image1, image2 = sample.image1.double().numpy(), sample.image2.double().numpy()
    # Three factors of channels, gamma, contrast, and the noise's size; then the brightness.
    draw(monkeypatch, [0.0, 0.5, 1.0, 0.25, 0.75, 1.0], [-0.5])
    jittered = FlowColorJitter(0.2, (0.2, 1.4), (0.7, 1.5), (0.5, 2.0), 0.0)(sample)
    for before, after in ((image1, jittered.image1), (image2, jittered.image2)):
        expected = (before * np.reshape([0.5, 1.25, 2.0], (3, 1, 1))) ** 0.9 - 0.1
        expected = np.clip(0.5 + 1.1 * (expected - 0.5), 0, 1)
        np.testing.assert_allclose(after.numpy(), expected, atol=1e-6)
    assert all(before is after for before, after in zip(sample[2:], jittered[2:], strict=True))


def test_noise_is_each_image_own() -> None:
    image = torch.full((3, 40, 50), 0.5)
    gray = constant_pair(0.0, 0.0, 40, 50)._replace(image1=image, image2=image)
    spreads = []
    for _ in range(100):
        noisy = FlowColorJitter(0, (1, 1), (1, 1), (1, 1), 0.04)(gray)
        noise = torch.stack([noisy.image1, noisy.image2]).flatten(1) - 0.5
        assert abs(torch.corrcoef(noise)[0, 1]) < 0.08
        spreads.append(noise.std().item())
    assert 0 < min(spreads) < 0.003 and 0.037 < max(spreads) < 0.041


def test_jittered_images_stay_in_range() -> None:
    images = [image for _ in range(50) for image in COLOR(constant_pair(0.0, 0.0))[:2]]
    assert all(image.min() >= 0 and image.max() <= 1 and image.dtype == torch.float32 for image in images)
    assert np.std([image.mean().item() for image in images]) > 0.05


def test_settings_that_change_nothing() -> None:
    sample = moving_pair()
    still_color = FlowColorJitter(0, (1, 1), (1, 1), (1, 1), 0)
    for transform in (STILL, FlowRandomFlip(0, 0), FlowRandomCrop(HEIGHT, WIDTH), still_color, Compose([])):
        assert same(transform(sample), sample)


def test_transforms_leave_their_input_and_follow_the_seed() -> None:
    transform = Compose([AFFINE, FlowRandomFlip(0.5, 0.5), FlowRandomCrop(32, 40), COLOR])
    sample, results = moving_pair(), []
    for _ in range(2):
        torch.manual_seed(3)
        results.append([transform(sample) for _ in range(3)])
    assert all(same(first, second) for first, second in zip(*results, strict=True))
    assert not same(results[0][0], results[0][1])
    assert same(sample, moving_pair())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FlowRandomCrop(0, 4), "got height=0, width=4"),
        (lambda: FlowRandomFlip(1.1, 0), r"horizontal must be in 0\.\.1, got 1\.1"),
        (lambda: FlowRandomFlip(0, float("nan")), r"vertical must be in 0\.\.1, got nan"),
        (lambda: FlowRandomAffine((0, 1), 0, 0, 0, 0, 0), r"scale must .* got \(0, 1\)"),
        (lambda: FlowRandomAffine((2, 1), 0, 0, 0, 0, 0), r"scale must .* got \(2, 1\)"),
        (lambda: FlowRandomAffine((1, math.inf), 0, 0, 0, 0, 0), "scale must be finite"),
        (lambda: FlowRandomAffine((1, 1), -1, 0, 0, 0, 0), "rotate must .* got -1"),
        (lambda: FlowRandomAffine((1, 1), 0, math.nan, 0, 0, 0), "translate must .* got nan"),
        (lambda: FlowRandomAffine((1, 1), 0, 0, -0.1, 0, 0), "relative_scale must .* got -0.1"),
        (lambda: FlowRandomAffine((1, 1), 0, 0, 0, -2, 0), "relative_rotate must .* got -2"),
        (lambda: FlowRandomAffine((1, 1), 0, 0, 0, 0, math.inf), "relative_translate must .* got inf"),
        (lambda: FlowColorJitter(-0.2, (1, 1), (1, 1), (1, 1), 0), "brightness must .* got -0.2"),
        (lambda: FlowColorJitter(0, (-0.8, 0.4), (1, 1), (1, 1), 0), r"contrast must .* got \(-0.8, 0.4\)"),
        (lambda: FlowColorJitter(0, (1, 1), (1.5, 0.7), (1, 1), 0), r"gamma must .* got \(1.5, 0.7\)"),
        (lambda: FlowColorJitter(0, (1, 1), (1, 1), (0, 2), 0), r"color must .* got \(0, 2\)"),
        (lambda: FlowColorJitter(0, (1, 1), (1, 1), (1, 1), -1), "noise must .* got -1"),
    ],
)
def test_constructors_refuse(build: Callable[[], FlowTransform], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
