"""What can be refined: every kind becomes channels whose weighted means are meaningful, and comes back from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from segaware.constants import IGNORE_INDEX
from segaware.labels import check_not_binary
from segaware.ops.arguments import check_integer

Kind: TypeAlias = Literal["scores", "probabilities", "labels", "values"]
"""What is refined: logits; probabilities; labels; or values such as depth or flow."""

LARGEST = 1e20  # of numbers that are given, so that float32 holds their sums
_LEAST = 1e-6  # of the weights, a part that says nothing
_TIE = 1e-5  # classes less far apart are equal: a tile rounds otherwise than the whole image
_GUESSED = 200  # more classes than that are not guessed from labels, which may be grey levels
_MATTE = "a soft matte of 0..255 is refined as matte / 255 of kind 'values'"


def encode(array: Tensor, kind: Kind, logits: bool, num_classes: int, certainty: float, clip: float) -> Tensor:
    """Return channels, float32 (1, C, h, w), from what was given, (C, h, w), or (h, w) of labels.

    Args:
        array: Scores, probabilities, labels or values.
        kind: Which of them.
        logits: Whether a CRF takes them: probabilities and labels become logits; for a filter, scores become
            probabilities, of the only class too.
        num_classes: Number of classes of labels.
        certainty: Probability of a label being right; the other classes share the rest.
        clip: The least of probabilities that become logits.
    """
    if kind == "values":  # numerator and denominator of a mean over the pixels that are known
        known = array.isfinite().all(0, keepdim=True)
        return torch.cat([torch.where(known, array, 0), known]).float()[None]
    if kind == "labels":
        rest = (1 - certainty) / (num_classes - 1)
        known = array != IGNORE_INDEX
        channels = torch.full((num_classes, *array.shape), rest, device=array.device)
        channels.scatter_(0, torch.where(known, array, 0).long()[None], certainty)
        # With zeros, a filter's sum over the classes is the part of its weights that lies on known pixels.
        channels.masked_fill_(~known, 1 / num_classes if logits else 0)
        return channels.log_()[None] if logits else channels[None]
    channels = array.float()
    if kind == "probabilities" and logits:
        channels = channels.clamp(clip, 1).log_()
    elif kind == "scores" and not logits:
        # torch's softmax rounds in another way for every number of threads
        channels = channels.log_softmax(0).exp_() if len(channels) > 1 else channels.sigmoid()
    return channels[None]


def decode(channels: Tensor, kind: Kind, logits: bool) -> Tensor:
    """Undo `encode` of all kinds but labels, for refined channels (1, C, H, W)."""
    channels = channels[0]
    if kind == "values":
        known = channels[-1:]
        return torch.where(known > _LEAST, channels[:-1] / known, torch.nan)
    if kind == "scores" and not logits:
        return channels.clamp(min=_LEAST).log_() if len(channels) > 1 else channels.logit(_LEAST)
    return channels.softmax(0) if kind == "probabilities" and logits else channels


def contenders(probabilities: Tensor) -> Tensor:
    """Return the classes of which any can be the most probable in a weighted mean of the pixels, (K,), ascending.

    The others, those with the lowest maxima, are nowhere as probable as the least that the most probable of the K must
    have: a K-th part of what they leave. So to find the most probable class of a filter's output, they can be left out.

    Args:
        probabilities: (C, h, w).

    Example:
        >>> contenders(torch.tensor([[[0.7, 0.2]], [[0.2, 0.7]], [[0.1, 0.1]]])).tolist()
        [0, 1]
    """
    most, classes = probabilities.flatten(1).amax(1).sort(descending=True)
    left = probabilities.sum(0).min() - most.flip(0).cumsum(0).flip(0)
    # What K classes keep from all others, with room for rounding.
    beaten = [float(most[k]) < 0.999 * float(left[k]) / k for k in range(1, len(most))]
    return classes[: beaten.index(True) + 1 if True in beaten else None].sort().values


def most_probable(channels: Tensor) -> Tensor:
    """Return the index of the highest of channels (C, H, W), the first of equal ones: ten times as fast as `argmax`."""
    highest, index = channels[0].clone(), torch.zeros(channels.shape[1:], dtype=torch.int64, device=channels.device)
    for number in range(1, len(channels)):
        index.masked_fill_(channels[number] > highest, number)
        torch.maximum(highest, channels[number], out=highest)
    return index


def decode_labels(channels: Tensor, known: Tensor, own: Tensor) -> Tensor:
    """Return the class of the highest channel, or `IGNORE_INDEX` where nothing is known.

    Of equal classes, a pixel keeps its own, or takes the first if its own is none of them.

    Args:
        channels: Refined probabilities or logits (C, H, W), which are overwritten.
        known: Where anything is known, (H, W).
        own: The labels before, (H, W).
    """
    tied = channels.sub_(channels.amax(0)).ge_(-_TIE)
    keeps = (own != IGNORE_INDEX) & (tied.gather(0, own.clamp(max=len(tied) - 1)[None])[0] > 0)
    return torch.where(known, torch.where(keeps, own, tied.argmax(0)), IGNORE_INDEX)


def to_means(channels: Tensor) -> Tensor:
    """Make means of a filter's sums (C, H, W) over known labels, in place, and return where there is one, (H, W)."""
    part = channels.sum(0)
    channels.div_(part.clamp(min=_LEAST))
    return part > _LEAST


def says_something(logits: Tensor) -> Tensor:
    """Return where a CRF's logits (C, H, W) prefer any class, (H, W)."""
    return logits.amax(0) - logits.amin(0) > _LEAST


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
        return _check_labels(array, num_classes)
    if num_classes is not None:
        raise ValueError(f"num_classes is for labels only, got {num_classes} with kind {kind!r}")
    if array.dtype.kind != "f":
        unknown = ", with NaN where unknown" if kind == "values" else ", and labels are of kind 'labels'"
        raise ValueError(
            f"scores of kind {kind!r} must be floating-point numbers, got {array.dtype}: 0..255 are given as "
            f"scores / 255, other integers as floats{unknown}"
        )
    count, size = len(array), array.shape[1:]
    del array
    if count == 0:
        raise ValueError(f"scores must have at least 1 channel, got shape {(count, *size)}")
    total = np.zeros(size if kind == "probabilities" else 0, np.float32)
    for number in range(count):
        channel = opened()[number]
        if kind == "values":
            if float(np.max(np.abs(channel), where=~np.isnan(channel), initial=0)) > LARGEST:
                raise ValueError(
                    f"values must be finite, or NaN where unknown, and at most {LARGEST:g}, got infinite or larger "
                    f"ones in channel {number}"
                )
            continue
        low, high = float(channel.min()), float(channel.max())
        if not -LARGEST <= low <= high <= LARGEST:
            raise ValueError(
                f"scores must be finite and at most {LARGEST:g}, got values from {low} to {high} in channel {number}"
                + ("; of probabilities, give themselves, as kind 'probabilities'" if low == -math.inf else "")
            )
        if kind == "probabilities":
            if not -1e-3 <= low <= high <= 1 + 1e-3:
                raise ValueError(
                    f"probabilities must be in 0..1, got values from {low:.4g} to {high:.4g}: divide 0..255 by 255, "
                    "clip what an interpolation has overshot, and give logits as kind 'scores'"
                )
            total += channel
    if kind == "probabilities":
        _check_total(total, count)
    return count


def _check_total(total: np.ndarray, count: int) -> None:
    """Check the sum of probabilities over their classes."""
    if count == 1:
        raise ValueError(
            "probabilities must be those of at least 2 classes, got 1 channel: of the probability p of a foreground, "
            "give [1 - p, p], or p itself as kind 'values'"
        )
    # Rounded to 8 bits, each may be up to a 255th too low; of many classes most are 0.
    tolerance = min(max(count, 3) / 255, 0.5)
    low, high = float(total.min()), float(total.max())
    if not 1 - tolerance <= low <= high <= 1 + tolerance:
        raise ValueError(
            f"probabilities must sum to 1 over the classes, got sums from {low:.4g} to {high:.4g}: divide them by "
            "their sum; of sigmoids, whose classes do not exclude each other, refine each p on its own, as [1 - p, p]"
        )


def _check_labels(labels: np.ndarray, num_classes: int | None) -> int:
    """Check labels, and return their number of classes."""
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"scores of kind 'labels' must be integers, got {labels.dtype}: of a mask of True and False, give 1 and 0"
        )
    if num_classes is not None:
        num_classes = check_integer("num_classes", num_classes, 2, IGNORE_INDEX)
    known = labels[labels != IGNORE_INDEX]
    least, most = (int(known.min()), int(known.max())) if known.size else (0, 0)
    check_not_binary("labels", labels)
    if num_classes is None and most >= _GUESSED:
        raise ValueError(
            f"labels must have num_classes given if there are classes above {_GUESSED - 1}, got up to {most}; {_MATTE}"
        )
    num_classes = max(most + 1, 2) if num_classes is None else num_classes
    if least < 0 or most >= num_classes:
        raise ValueError(
            f"labels must be in 0..{num_classes - 1} or {IGNORE_INDEX} (unknown), got {least}..{most}; {_MATTE}"
        )
    return num_classes
