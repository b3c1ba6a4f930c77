"""Data augmentation: random joint transforms of an image, its label, and scores where there are any.

Random numbers come from torch's global generator, which `torch.manual_seed` fixes and which a `DataLoader` seeds
differently in each worker.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from segaware.constants import IGNORE_INDEX, IMAGENET_MEAN
from segaware.data.sample import PredictedSample, Sample

AnySample = TypeVar("AnySample")
LabelledSample = TypeVar("LabelledSample", Sample, PredictedSample)

_LUMA = (0.299, 0.587, 0.114)


def uniform(low: float, high: float) -> float:
    """Draw a number between two."""
    return low + (high - low) * float(torch.rand(()))


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)


def _scores(sample: Sample | PredictedSample, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Return the changed scores of a sample that has any, by keyword."""
    return {"scores": change(sample.scores)} if isinstance(sample, PredictedSample) else {}


class Compose(Generic[AnySample]):
    """Apply transforms one after the other, of `Sample`, `FlowSample` or samples of your own.

    Args:
        transforms: The transforms, first to last.

    Example:
        >>> crop = Compose([RandomScale(0.5, 1.5), RandomCrop(32, 48), RandomFlip(0.5)])
        >>> sample = crop(Sample(torch.rand(3, 40, 40), torch.zeros(40, 40, dtype=torch.int64), "noise"))
        >>> sample.image.shape, sample.label.shape
        (torch.Size([3, 32, 48]), torch.Size([32, 48]))
    """

    def __init__(self, transforms: Sequence[Callable[[AnySample], AnySample]]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, sample: AnySample) -> AnySample:
        """Apply all transforms."""
        for transform in self.transforms:
            sample = transform(sample)
        return sample


class RandomScale:
    """Resize by a factor drawn uniformly: image and scores bilinear with antialiasing, the label by its nearest pixel.

    Args:
        low: Smallest factor, above 0.
        high: Largest factor.

    Raises:
        ValueError: Not 0 < low <= high, or not finite.
    """

    def __init__(self, low: float, high: float) -> None:
        if not 0 < low <= high < math.inf:
            raise ValueError(f"low and high must be finite with 0 < low <= high, got low={low}, high={high}")
        self.low, self.high = low, high

    def __call__(self, sample: LabelledSample) -> LabelledSample:
        """Return the sample resized."""
        factor = uniform(self.low, self.high)
        size = [max(1, round(side * factor)) for side in sample.label.shape]

        def resized(pixels: Tensor) -> Tensor:
            return F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]

        # "nearest-exact" shares bilinear's pixel centres; plain "nearest" shifts the label by half a pixel.
        label = F.interpolate(sample.label[None, None].float(), size, mode="nearest-exact")[0, 0]
        # Antialiasing can overshoot 0..1 by a rounding error.
        image = resized(sample.image).clamp(0, 1)
        return sample._replace(image=image, label=label.long(), **_scores(sample, resized))


class RandomCrop:
    """Cut out a window at a random place. A smaller image is first padded at its bottom and right.

    Padding is the ImageNet mean colour, near zero after the usual normalisation, with label `IGNORE_INDEX` and scores
    of 0.

    Args:
        height: Height of the window in pixels.
        width: Width of the window in pixels.

    Raises:
        ValueError: A side is not positive.
    """

    def __init__(self, height: int, width: int) -> None:
        if height < 1 or width < 1:
            raise ValueError(f"height and width must be at least 1, got height={height}, width={width}")
        self.height, self.width = height, width

    def __call__(self, sample: LabelledSample) -> LabelledSample:
        """Return the window."""
        sample = self.pad(sample)
        label = sample.label
        top = int(torch.randint(label.shape[0] - self.height + 1, ()))
        left = int(torch.randint(label.shape[1] - self.width + 1, ()))
        rows, columns = slice(top, top + self.height), slice(left, left + self.width)
        return sample._replace(
            image=sample.image[:, rows, columns],
            label=label[rows, columns],
            **_scores(sample, lambda scores: scores[:, rows, columns]),
        )

    def pad(self, sample: LabelledSample) -> LabelledSample:
        """Return the sample at the size of the window or more."""
        height, width = sample.label.shape
        if height >= self.height and width >= self.width:
            return sample
        padded = (max(height, self.height), max(width, self.width))
        image = sample.image.new_full((len(sample.image), padded[0], padded[1]), IGNORE_INDEX)  # for labels
        image[:3] = _per_channel(IMAGENET_MEAN)
        image[:, :height, :width] = sample.image
        label = sample.label.new_full(padded, IGNORE_INDEX)
        label[:height, :width] = sample.label
        beyond = (0, padded[1] - width, 0, padded[0] - height)
        return sample._replace(image=image, label=label, **_scores(sample, lambda scores: F.pad(scores, beyond)))


class RandomFlip:
    """Mirror left and right: a random horizontal flip.

    Args:
        p: Probability of mirroring, 0..1.

    Raises:
        ValueError: `p` is out of range.
    """

    def __init__(self, p: float) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in 0..1, got {p}")
        self.p = p

    def __call__(self, sample: LabelledSample) -> LabelledSample:
        """Return the sample, mirrored or as it is."""
        if torch.rand(()) >= self.p:
            return sample
        return sample._replace(
            image=sample.image.flip(-1), label=sample.label.flip(-1), **_scores(sample, lambda scores: scores.flip(-1))
        )


class ColorJitter:
    """Change brightness, contrast and saturation, in this order; label and scores stay.

    Brightness is the distance from black, contrast from the image's mean gray, saturation from each pixel's gray.
    Each distance is multiplied by its own factor, uniform in 1 - strength .. 1 + strength.

    Args:
        strength: Half-width of the factors' range, 0..1.

    Raises:
        ValueError: `strength` is out of range.
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be in 0..1, got {strength}")
        self.strength = strength

    def __call__(self, sample: LabelledSample) -> LabelledSample:
        """Return the sample with other colours."""
        brightness, contrast, saturation = (uniform(1 - self.strength, 1 + self.strength) for _ in range(3))
        image = sample.image * brightness
        gray = _gray(image).mean()
        image = gray + contrast * (image - gray)
        pixel_gray = _gray(image)
        image = pixel_gray + saturation * (image - pixel_gray)
        return sample._replace(image=image.clamp(0, 1))


def _gray(image: Tensor) -> Tensor:
    return (_per_channel(_LUMA).to(image) * image).sum(0, keepdim=True)
