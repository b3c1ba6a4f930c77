"""What can be refined: every kind becomes channels whose weighted means are meaningful, and comes back from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

Kind: TypeAlias = Literal["scores", "probabilities", "labels", "values"]

UNKNOWN = 255  # the label of pixels whose class is not known
_LEAST = 1e-6  # of the weights, a part that says nothing


def encode(array: Tensor, kind: Kind, logits: bool, num_classes: int, certainty: float) -> Tensor:
    """Return channels, float32 (1, C, h, w), from what was given, (C, h, w), or (h, w) of labels.

    Args:
        array: Scores, probabilities, labels or values.
        kind: Which of them.
        logits: Whether a CRF takes them: probabilities and labels become logits.
        num_classes: Number of classes of labels.
        certainty: Probability of a label being right; the other classes share the rest.
    """
    if kind == "values":  # numerator and denominator of a mean over the pixels that are known
        known = array.isfinite().all(0, keepdim=True)
        return torch.cat([torch.where(known, array, 0), known]).float()[None]
    if kind == "labels":
        rest = (1 - certainty) / (num_classes - 1)
        known = array != UNKNOWN
        channels = torch.full((num_classes, *array.shape), rest, device=array.device)
        channels.scatter_(0, torch.where(known, array, 0).long()[None], certainty)
        channels.masked_fill_(~known, 1 / num_classes)
    else:
        channels = array.float()
    if logits and kind != "scores":
        channels = channels.clamp(min=torch.finfo(torch.float32).tiny).log()
    return channels[None]


def decode(channels: Tensor, kind: Kind, logits: bool) -> Tensor:
    """Undo `encode`, for refined channels (1, C, H, W)."""
    channels = channels[0]
    if kind == "values":
        known = channels[-1:]
        return torch.where(known > _LEAST, channels[:-1] / known, torch.nan)
    if kind == "labels":
        top, label = channels.max(0)
        return torch.where(top - channels.amin(0) > _LEAST, label, UNKNOWN)  # equal if no neighbour is known
    return channels.softmax(0) if kind == "probabilities" and logits else channels


def check_values(opened: Callable[[], np.ndarray], kind: Kind, num_classes: int | None) -> int:
    """Check what is given, channel by channel, and return the number of channels or classes.

    Args:
        opened: Opens (C, h, w), or (h, w) of labels; called for every channel, so that a memory-mapped file is never
            in memory as a whole.
        kind: What it is.
        num_classes: Number of classes of labels; None for one more than the largest.

    Raises:
        ValueError: If values are out of range, or not finite where they must be.
    """
    array = opened()
    if kind == "labels":
        if array.dtype.kind not in "iu":
            raise ValueError(f"scores of kind 'labels' must be integers, got {array.dtype}")
        known = array[array != UNKNOWN]
        least, most = (int(known.min()), int(known.max())) if known.size else (0, 0)
        num_classes = max(most + 1, 2) if num_classes is None else num_classes
        if least < 0 or most >= num_classes:
            raise ValueError(f"labels must be in 0..{num_classes - 1} or {UNKNOWN} (unknown), got {least}..{most}")
        if not 2 <= num_classes <= UNKNOWN:
            raise ValueError(f"num_classes must be in 2..{UNKNOWN} for labels, got {num_classes}")
        return num_classes
    if array.dtype.kind != "f":
        raise ValueError(f"scores of kind {kind!r} must be floating-point numbers, got {array.dtype}")
    count = len(array)
    del array
    for number in range(count):
        channel = opened()[number]
        if kind == "values":
            if np.isinf(channel).any():
                raise ValueError(f"values must be finite, or NaN where unknown, got an infinite one in {number}")
            continue
        low, high = float(channel.min()), float(channel.max())
        if not np.isfinite([low, high]).all():
            raise ValueError(f"scores must be finite, got values from {low} to {high} in channel {number}")
        if kind == "probabilities" and not -1e-6 <= low <= high <= 1 + 1e-6:
            raise ValueError(f"probabilities must be in 0..1, got values from {low:.4g} to {high:.4g}")
    if num_classes is not None:
        raise ValueError(f"num_classes is for labels only, got {num_classes} with kind {kind!r}")
    return count
