"""Data augmentation for optical flow: random joint transforms of two images and the flow between them.

Random numbers come from torch's global generator, as in `segaware.data.transforms`. A pixel covers half a pixel around
its centre, so a point is inside an image if its nearest pixel is.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from segaware.data.flow.sample import FlowSample
from segaware.data.sample import Sample
from segaware.data.transforms import RandomCrop, uniform


def _normal(std: float) -> float:
    return std * float(torch.randn(()))


def _check_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and at least 0, got {value}")


def _check_range(name: str, limits: tuple[float, float]) -> None:
    if not 0 < limits[0] <= limits[1] < math.inf:
        raise ValueError(f"{name} must be finite with 0 < low <= high, got {limits}")


class FlowRandomCrop:
    """Cut the same window out of everything, at a random place. Smaller images are first padded at bottom and right.

    Padding is `segaware.data.RandomCrop`'s mean colour, with flow 0, not valid. Pixels that move out of the window, or
    into the padding, become occluded. A sample of the window's size stays as it is.

    Args:
        height: Height of the window in pixels.
        width: Width of the window in pixels.

    Raises:
        ValueError: A side is not positive.

    Example:
        >>> images, mask = torch.rand(2, 3, 40, 60), torch.zeros(40, 60, dtype=torch.bool)
        >>> to_the_right = torch.tensor([10.0, 0.0]).view(2, 1, 1).expand(2, 40, 60)
        >>> crop = FlowRandomCrop(32, 48)(FlowSample(*images, to_the_right, ~mask, mask, "noise"))
        >>> crop.flow.shape, bool(crop.occluded[:, -10:].all()), bool(crop.occluded[:, :-10].any())
        (torch.Size([2, 32, 48]), True, False)
    """

    def __init__(self, height: int, width: int) -> None:
        self.image_crop = RandomCrop(height, width)
        self.height, self.width = height, width

    def __call__(self, sample: FlowSample) -> FlowSample:
        """Return the window."""
        if sample.valid.shape == (self.height, self.width):
            return sample
        sample = self.pad(sample)
        top = int(torch.randint(sample.valid.shape[0] - self.height + 1, ()))
        left = int(torch.randint(sample.valid.shape[1] - self.width + 1, ()))
        rows, columns = slice(top, top + self.height), slice(left, left + self.width)
        return _occlude_leaving(_each(sample, lambda map: map[..., rows, columns]))

    def pad(self, sample: FlowSample) -> FlowSample:
        """Return the sample at the size of the window or more."""
        height, width = sample.valid.shape
        if height >= self.height and width >= self.width:
            return sample
        sample = _occlude_leaving(sample)
        padding = (0, max(0, self.width - width), 0, max(0, self.height - height))
        image1, image2 = (
            self.image_crop.pad(Sample(image, sample.valid, sample.name)).image
            for image in (sample.image1, sample.image2)
        )
        flow, valid, occluded = (F.pad(map, padding) for map in (sample.flow, sample.valid, sample.occluded))
        return FlowSample(image1, image2, flow, valid, occluded, sample.name)


class FlowRandomFlip:
    """Mirror both images left and right, then up and down, each with its own probability.

    What is mirrored left and right moves the other way horizontally, so u changes its sign; up and down, v.

    Args:
        horizontal: Probability of mirroring left and right, 0..1.
        vertical: Probability of mirroring up and down, 0..1.

    Raises:
        ValueError: A probability is out of range.

    Example:
        >>> images, mask = torch.rand(2, 3, 4, 6), torch.zeros(4, 6, dtype=torch.bool)
        >>> flow = torch.tensor([2.0, 1.0]).view(2, 1, 1).expand(2, 4, 6)
        >>> FlowRandomFlip(1.0, 0.0)(FlowSample(*images, flow, ~mask, mask, "noise")).flow[:, 0, 0]
        tensor([-2.,  1.])
    """

    def __init__(self, horizontal: float, vertical: float) -> None:
        for name, probability in (("horizontal", horizontal), ("vertical", vertical)):
            if not 0 <= probability <= 1:
                raise ValueError(f"{name} must be in 0..1, got {probability}")
        self.horizontal, self.vertical = horizontal, vertical

    def __call__(self, sample: FlowSample) -> FlowSample:
        """Return the sample, mirrored or as it is."""
        if torch.rand(()) < self.horizontal:
            sample = _each(sample, lambda map: map.flip(-1))
            sample = sample._replace(flow=sample.flow * sample.flow.new_tensor([-1, 1]).view(2, 1, 1))
        if torch.rand(()) < self.vertical:
            sample = _each(sample, lambda map: map.flip(-2))
            sample = sample._replace(flow=sample.flow * sample.flow.new_tensor([1, -1]).view(2, 1, 1))
        return sample


class FlowRandomAffine:
    """Scale, rotate and shift both images alike, then the second one a little more, about the image's centre.

    The geometric augmentation of Dosovitskiy et al. 2015 (FlowNet, Sec. 4.3). Image 1 is moved by A1 and image 2 by
    A2 = R A1, where R is the small relative motion. Pixel p of the new image 1 shows the point q = A1^-1 p of the old
    one, which moved to q + flow(q), so its flow is now A2 (q + flow(q)) - p. Images keep their size.

    * Images are sampled bilinearly; beyond their border they continue in its colours.
    * Flow, valid and occluded are those of the pixel nearest to q: an average across a boundary would be a motion that
      neither side has, or one with the 0 of unknown flow mixed in.
    * Where q is outside the old image 1, flow is 0 and not valid. (The authors' code draws again, up to 50 times, until
      its crop is inside.)
    * A pixel becomes occluded if its flow is known and ends outside the old image 2, which has nothing to show there,
      or outside the new one. One that was occluded remains so.

    If what is drawn moves neither image, the sample stays as it is.

    Args:
        scale: Smallest and largest factor, drawn uniformly. The paper has (0.9, 2.0). Images are not smoothed before
            they shrink, so factors far below 1 alias.
        rotate: Largest angle in degrees, drawn uniformly to both sides. The paper has 17.
        translate: Largest shift as a fraction of the image's side, drawn uniformly per axis. The paper has 0.2.
        relative_scale: Standard deviation of the logarithm of R's factor. The paper gives no numbers for R.
        relative_rotate: Standard deviation of R's angle in degrees.
        relative_translate: Standard deviation of R's shift in pixels, per axis.

    Raises:
        ValueError: Not 0 < low <= high for `scale`, another argument is negative, or one is not finite.

    Example:
        >>> images, mask = torch.rand(2, 3, 40, 60), torch.zeros(40, 60, dtype=torch.bool)
        >>> flow = torch.tensor([2.0, -1.0]).view(2, 1, 1).expand(2, 40, 60)
        >>> twice = FlowRandomAffine((2.0, 2.0), 0, 0, 0, 0, 0)
        >>> twice(FlowSample(*images, flow, ~mask, mask, "noise")).flow[:, 20, 30]
        tensor([ 4., -2.])
    """

    def __init__(
        self,
        scale: tuple[float, float],
        rotate: float,
        translate: float,
        relative_scale: float,
        relative_rotate: float,
        relative_translate: float,
    ) -> None:
        _check_range("scale", scale)
        _check_not_negative(
            rotate=rotate,
            translate=translate,
            relative_scale=relative_scale,
            relative_rotate=relative_rotate,
            relative_translate=relative_translate,
        )
        self.scale, self.rotate, self.translate = scale, rotate, translate
        self.relative_scale, self.relative_rotate = relative_scale, relative_rotate
        self.relative_translate = relative_translate

    def __call__(self, sample: FlowSample) -> FlowSample:
        """Return the sample moved."""
        height, width = sample.valid.shape
        affine1 = _affine(
            uniform(*self.scale),
            uniform(-self.rotate, self.rotate),
            (width * uniform(-self.translate, self.translate), height * uniform(-self.translate, self.translate)),
            (height, width),
        )
        relative = _affine(
            math.exp(_normal(self.relative_scale)),
            _normal(self.relative_rotate),
            (_normal(self.relative_translate), _normal(self.relative_translate)),
            (height, width),
        )
        affine2 = relative @ affine1
        still = torch.eye(3, dtype=torch.float64)
        if torch.equal(affine1, still) and torch.equal(affine2, still):
            return sample

        pixels = _pixels(height, width)
        source1, source2 = (_apply(torch.linalg.inv(affine), pixels) for affine in (affine1, affine2))
        images = torch.stack([sample.image1, sample.image2])
        image1, image2 = F.grid_sample(
            images, _grid(torch.stack([source1, source2])), padding_mode="border", align_corners=False
        )
        maps = torch.cat([sample.flow, sample.valid[None], sample.occluded[None]])
        maps = F.grid_sample(maps[None], _grid(source1[None]), mode="nearest", align_corners=False)[0]
        old_flow, valid, occluded = maps[:2], maps[2] > 0, maps[3] > 0

        # A2 (q + flow) - p = (R p - p) + L flow, with L the linear part of A2: small numbers, so little rounding.
        linear = affine2 * torch.tensor([1.0, 1.0, 0.0])
        flow = (_apply(relative - still, pixels) + _apply(linear, old_flow)) * valid
        occluded |= valid & (_outside(source1 + old_flow) | _outside(pixels + flow))
        return FlowSample(image1, image2, flow, valid, occluded, sample.name)


class FlowColorJitter:
    """Change the colours of both images alike, then add noise to each; the flow stays.

    The photometric augmentation of Dosovitskiy et al. 2015 (FlowNet, Sec. 4.3), in this order: each channel times a
    factor of its own, the power gamma, plus a brightness, the distance from mid-gray times a contrast, plus Gaussian
    noise; then clamped to 0..1. The paper gives no order. Its values, with contrast read as what is added to 1, are
    `FlowColorJitter(brightness=0.2, contrast=(0.2, 1.4), gamma=(0.7, 1.5), color=(0.5, 2.0), noise=0.04)`.

    Args:
        brightness: Standard deviation of the brightness.
        contrast: Smallest and largest contrast, drawn uniformly.
        gamma: Smallest and largest exponent, drawn uniformly.
        color: Smallest and largest factor of a channel, drawn uniformly.
        noise: Largest standard deviation of the noise, drawn uniformly from 0.

    Raises:
        ValueError: Not 0 < low <= high for a range, `brightness` or `noise` is negative, or one is not finite.

    Example:
        >>> gray, mask = torch.full((2, 3, 4, 6), 0.5), torch.zeros(4, 6, dtype=torch.bool)
        >>> jitter = FlowColorJitter(0.0, (1.0, 1.0), (2.0, 2.0), (1.0, 1.0), 0.0)
        >>> jitter(FlowSample(*gray, torch.zeros(2, 4, 6), ~mask, mask, "gray")).image1[:, 0, 0]
        tensor([0.2500, 0.2500, 0.2500])
    """

    def __init__(
        self,
        brightness: float,
        contrast: tuple[float, float],
        gamma: tuple[float, float],
        color: tuple[float, float],
        noise: float,
    ) -> None:
        _check_not_negative(brightness=brightness, noise=noise)
        for name, limits in (("contrast", contrast), ("gamma", gamma), ("color", color)):
            _check_range(name, limits)
        self.brightness, self.contrast, self.gamma, self.color, self.noise = brightness, contrast, gamma, color, noise

    def __call__(self, sample: FlowSample) -> FlowSample:
        """Return the sample with other colours."""
        images = torch.stack([sample.image1, sample.image2])
        images *= images.new_tensor([uniform(*self.color) for _ in range(3)]).view(3, 1, 1)
        images **= uniform(*self.gamma)
        images += _normal(self.brightness)
        # As 0.5 + contrast * (images - 0.5), but exact where the contrast is 1.
        contrast = uniform(*self.contrast)
        images *= contrast
        images += 0.5 * (1 - contrast)
        images += torch.randn_like(images).mul_(uniform(0, self.noise))
        image1, image2 = images.clamp_(0, 1)
        return sample._replace(image1=image1, image2=image2)


def _each(sample: FlowSample, change: Callable[[Tensor], Tensor]) -> FlowSample:
    """Change images, flow and masks alike."""
    image1, image2, flow, valid, occluded, name = sample
    return FlowSample(change(image1), change(image2), change(flow), change(valid), change(occluded), name)


def _affine(scale: float, degrees: float, shift: tuple[float, float], size: tuple[int, int]) -> Tensor:
    """The 3x3 matrix (float64, on (x, y, 1)) that scales and turns about an image's centre, then shifts."""
    center_y, center_x = ((side - 1) / 2 for side in size)
    cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return torch.tensor(
        [
            [cos, -sin, center_x - cos * center_x + sin * center_y + shift[0]],
            [sin, cos, center_y - sin * center_x - cos * center_y + shift[1]],
            [0.0, 0.0, 1.0],
        ],
        dtype=torch.float64,
    )


def _apply(matrix: Tensor, points: Tensor) -> Tensor:
    """Map points (2, H, W) by the upper two rows of a 3x3 matrix."""
    (a, b, c), (d, e, f), _ = matrix.tolist()
    x, y = points
    return torch.stack([a * x + b * y + c, d * x + e * y + f])


def _pixels(height: int, width: int) -> Tensor:
    """The coordinates x, y of an image's pixels, (2, H, W)."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([x, y])


def _grid(points: Tensor) -> Tensor:
    """Points (N, 2, H, W) in pixels as `F.grid_sample` wants them: the image's outline at -1 and 1."""
    height, width = points.shape[2:]
    return (2 * points.movedim(1, -1) + 1) / points.new_tensor([width, height]) - 1


def _outside(points: Tensor) -> Tensor:
    """Which of the points (2, H, W) have no pixel in an image of the same H and W."""
    (x, y), (height, width) = points, points.shape[1:]
    return (x < -0.5) | (x >= width - 0.5) | (y < -0.5) | (y >= height - 0.5)


def _occlude_leaving(sample: FlowSample) -> FlowSample:
    leaving = sample.valid & _outside(_pixels(*sample.valid.shape) + sample.flow)
    return sample._replace(occluded=sample.occluded | leaving)
