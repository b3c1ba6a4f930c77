"""Scores as a network of stride 8 might give them, made from labels: what a sharpening is trained and measured on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segaware.constants import IGNORE_INDEX

COARSE_STRIDE = 8
"""The stride of `coarse_scores` to the image, in pixels."""


def coarse_scores(
    label: Tensor,
    num_classes: int,
    radius: int = 24,
    confidence: float = 6.0,
    noise: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Blur labels to a coarse grid and add noise.

    The score of class c at (i, j) is `confidence` times the part of c among the labelled pixels of the square of side
    2 * radius + 1 around image pixel (8 i, 8 j), plus Gaussian noise. Where nothing is labelled there is
    noise alone.

    Args:
        label: Integer classes (N, H, W), `IGNORE_INDEX` where unknown.
        num_classes: Number of classes C.
        radius: How far the blur reaches, in pixels; 24 takes thin parts away and rounds corners, as DeepLab does.
        confidence: Difference of scores where a class is alone; 6 is a probability of 0.98 among seven classes.
        noise: Standard deviation of the noise.
        generator: Where the noise comes from, on whatever device; None is torch's global generator of the CPU, also for
            labels on a GPU, so that noise is the same on all devices.

    Returns:
        Scores (N, C, ceil(H / 8), ceil(W / 8)), float32, on the device of the labels.

    Example:
        >>> coarse_scores(torch.zeros(1, 50, 70, dtype=torch.int64), num_classes=3).shape
        torch.Size([1, 3, 7, 9])
    """
    label = label.long()
    known = (label != IGNORE_INDEX).long()
    one_hot = F.one_hot(label * known, num_classes).permute(0, 3, 1, 2) * known[:, None]
    # Means over whole squares, those at the border padded with pixels without a label: their quotient is the part.
    parts, labelled = (
        F.avg_pool2d(x.float(), 2 * radius + 1, COARSE_STRIDE, padding=radius) for x in (one_hot, known[:, None])
    )
    scores = confidence * parts / labelled.clamp(min=1e-6)
    source = torch.device("cpu") if generator is None else generator.device
    return scores + noise * torch.randn(scores.shape, generator=generator, device=source).to(scores.device)
