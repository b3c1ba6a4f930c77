"""Masks as networks of many kinds might give them, made from labels: what a filter learns to put right."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segaware.constants import GROUND_INDEX, IGNORE_INDEX
from segaware.data.mixture import near_border
from segaware.nn.resampling import upsample

_UNTOUCHED = 0.125  # part of the masks that are given as they are: a sharp one must stay sharp
_STRIDES = (1, 2, 4, 8, 8, 16)
_LARGEST_BLUR = 24.0  # radius in pixels


class DegradedMasks(NamedTuple):
    """What `degraded_masks` returns.

    Attributes:
        probability: float32 (N, M, H, W).
        target: The mask itself, 0 or 1, likewise.
        known: Where something is labelled, bool (N, 1, H, W).
    """

    probability: Tensor
    target: Tensor
    known: Tensor


def degraded_masks(labels: Tensor, count: int, generator: torch.Generator | None = None) -> DegradedMasks:
    """Make binary masks from labels and spoil them: blur, stride, noise and a bias, or nothing, drawn for each.

    A mask is what a label or several have in common: an object before the ground, or some of the regions. One in eight
    is given as it is with a confidence of 0.98. Of the others, part p of the mask in a square of radius 1 to 24 pixels,
    taken at a stride of 1 to 16, becomes a logit c (2 p - 1) with c of 3 to 8, with noise and a bias of up to 1, whose
    probability is upsampled.

    Args:
        labels: Regions (N, H, W), int64; `IGNORE_INDEX` where unknown, `GROUND_INDEX` behind objects.
        count: Masks for each image, M.
        generator: Of the random numbers, on the CPU; None for torch's own.

    Returns:
        Masks, on the device of the labels.

    Example:
        >>> from segaware.training.degraded import degraded_masks
        >>> degraded_masks(torch.randint(0, 3, (2, 50, 70)), 4).probability.shape
        torch.Size([2, 4, 50, 70])
    """
    masks = [[_degraded(label, generator) for _ in range(count)] for label in labels]
    probability, target = (torch.stack([torch.stack([m[i] for m in image]) for image in masks]) for i in (0, 1))
    return DegradedMasks(probability, target, (labels != IGNORE_INDEX)[:, None])


def _degraded(label: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return a probability and its mask, (H, W)."""
    draw = torch.rand(6, generator=generator).tolist()
    target = _mask(label, generator)
    if draw[0] < _UNTOUCHED:
        return 0.02 + 0.96 * target, target
    stride = _STRIDES[int(draw[1] * len(_STRIDES))]
    radius = max(round(_LARGEST_BLUR ** draw[2]), stride // 2)
    known = (label != IGNORE_INDEX).float()
    # Means over whole squares, those at the border padded with pixels without a label: their quotient is the part.
    inside, labelled = (
        F.avg_pool2d(x[None, None], 2 * radius + 1, stride, padding=radius) for x in (target * known, known)
    )
    part = inside / labelled.clamp(min=1e-6)
    noise = torch.randn(part.shape, generator=generator).to(part.device)
    logit = (3 + 5 * draw[3]) * (2 * part - 1) + draw[4] * noise + 2 * draw[5] - 1
    return upsample(logit.sigmoid(), stride, (label.shape[0], label.shape[1]))[0, 0], target


def _mask(label: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return where a random choice of the regions is: all objects if they stand before a ground, else some regions."""
    regions = [region for region in label.unique().tolist() if region != IGNORE_INDEX]
    objects = [region for region in regions if region != GROUND_INDEX]
    chosen = torch.rand(len(regions) + 1, generator=generator).tolist()
    if len(objects) > 1 or len(objects) == len(regions):  # some of them, and at least one
        some = [region for region, draw in zip(objects, chosen, strict=False) if draw < 0.4]
        objects = some or objects[: 1 + int(chosen[-1] * len(objects))][-1:]
    return torch.isin(label, torch.tensor(objects, dtype=label.dtype, device=label.device)).float()


def border_weight(target: Tensor) -> Tensor:
    """Return how much a pixel of masks (N, M, H, W) counts: 9 within 3 pixels of a border, 3 within 8, else 1."""
    return 1 + 6 * near_border(target, 3).float() + 2 * near_border(target, 8).float()
