"""Checks of what is to be refined, channel by channel."""

from __future__ import annotations

import math

import numpy as np

from segaware.constants import IGNORE_INDEX
from segaware.labels import check_not_binary
from segaware.ops.arguments import check_integer
from segaware.refining.kinds import LARGEST, Kind, MaskNumbers, Open

_GREY = 200  # more labels than that are not guessed: they may be grey levels
_MATTE = "a soft matte of 0..255 is refined as kind 'masks'"


def check_values(opened: Open, kind: Kind) -> int:
    """Check scores, probabilities or values, and return their number of channels.

    Args:
        opened: Opens (C, h, w); called for every channel, so that a memory-mapped file is never in memory as a whole.
        kind: What it is.

    Raises:
        ValueError: If values are out of range, or not finite where they must be.
    """
    array = opened()
    if array.dtype.kind != "f":
        unknown = ", with NaN where unknown" if kind == "values" else ", and labels are of kind 'labels'"
        raise ValueError(
            f"scores of kind {kind!r} must be floating-point numbers, got {array.dtype}: 0..255 are given as "
            f"scores / 255, other integers as floats{unknown}"
        )
    count, size = _count(array), array.shape[1:]
    del array
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


def check_masks(opened: Open) -> tuple[int, MaskNumbers]:
    """Check masks, and return how many there are and what they are made of; `opened` as of `check_values`.

    Raises:
        ValueError: If they are of no type of masks, or not finite.
    """
    array = opened()
    count, kind = len(array), array.dtype  # of a photograph without objects there are none
    del array
    if kind.kind not in "bf" and kind != np.uint8:
        raise ValueError(f"masks must be bool, uint8 or floating-point numbers, got {kind}")
    if kind.kind == "b":
        return count, "boolean"
    extremes = [(float(channel.min()), float(channel.max())) for channel in (opened()[n] for n in range(count))]
    low, high = min((low for low, _ in extremes), default=0), max((high for _, high in extremes), default=0)
    if kind == np.uint8:
        return count, "0 and 1" if high <= 1 else "0..255"
    if not all(-LARGEST <= least <= most <= LARGEST for least, most in extremes):
        raise ValueError(f"masks must be finite and at most {LARGEST:g}, got values from {low} to {high}")
    return count, "0..1" if low >= 0 and high <= 1 else "logits"


def check_labels(labels: np.ndarray, num_classes: int | None, ignore_index: int, present: bool) -> int:
    """Check labels (h, w), and return their number of classes.

    Args:
        labels: Integers.
        num_classes: The number of classes; None for what is found.
        ignore_index: The label of unknown pixels.
        present: Whether only labels that are there count, which may be any integers then if `num_classes` is None.

    Raises:
        ValueError: If they are no integers, out of range, or a mask or matte.
    """
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"scores of kind 'labels' must be integers, got {labels.dtype}: a mask of True and False is of kind 'masks'"
        )
    if num_classes is not None:
        num_classes = check_integer("num_classes", num_classes, 2, IGNORE_INDEX)
    if ignore_index == IGNORE_INDEX:
        try:
            check_not_binary("labels", labels)
        except ValueError as error:
            raise ValueError(f"{error}; or give it as it is, as kind 'masks'") from None
    found = np.unique(labels)
    found = found[found != ignore_index]
    least, most = (int(found[0]), int(found[-1])) if found.size else (0, 0)
    grey = labels.dtype.itemsize == 1 if present else most < IGNORE_INDEX  # ids are larger, or of more bits
    if num_classes is None and grey and (len(found) if present else most + 1) > _GREY:
        raise ValueError(
            f"labels must have num_classes given if there are more than {_GREY}, got up to {most}; {_MATTE}"
        )
    if num_classes is None and present:
        return max(len(found), 2)
    classes = max(most + 1, 2) if num_classes is None else num_classes
    if least < 0 or most >= classes or classes > IGNORE_INDEX:
        raise ValueError(
            f"labels must be in 0..{min(classes, IGNORE_INDEX) - 1} or {ignore_index} (unknown), got {least}..{most}; "
            f"{_MATTE}"
        )
    return max(len(found), 2) if present else classes


def _check_total(total: np.ndarray, count: int) -> None:
    """Check the sum of probabilities over their classes."""
    if count == 1:
        raise ValueError(
            "probabilities must be those of at least 2 classes, got 1 channel: of the probability p of a foreground, "
            "give [1 - p, p], or p itself as kind 'masks'"
        )
    # Rounded to 8 bits, each may be up to a 255th too low; of many classes most are 0.
    tolerance = min(max(count, 3) / 255, 0.5)
    low, high = float(total.min()), float(total.max())
    if not 1 - tolerance <= low <= high <= 1 + tolerance:
        raise ValueError(
            f"probabilities must sum to 1 over the classes, got sums from {low:.4g} to {high:.4g}: divide them by "
            "their sum; sigmoids, whose classes do not exclude each other, are of kind 'masks'"
        )


def _count(array: np.ndarray) -> int:
    if len(array) == 0:
        raise ValueError(f"scores must have at least 1 channel, got shape {array.shape}")
    return len(array)
