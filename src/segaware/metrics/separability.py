"""How well distances between embeddings tell pixels of one region from pixels of two, without any training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segaware.constants import IGNORE_INDEX
from segaware.metrics.iou import check_integer
from segaware.metrics.trimap_iou import border_distance
from segaware.ops.arguments import as_integer, check_finite, check_tensor
from segaware.ops.arguments import check_integer as check_int

LEAST_PAIRS = 10  # of either kind; an area over fewer says more of chance than of the embedding
_DRAWS = 2**17  # of two pixels per distance, so that a thousand of them lie on a border that few pixels have
_OUTLINE = 8  # pixels by which two pixels across a border may be farther apart than a straight one asks for
_NONE = -1  # the region of a pixel that makes no pairs


class PixelPairs(NamedTuple):
    """Pairs of pixels of one image.

    Attributes:
        first: int64 (P,) index of a pixel, row by row, in the image.
        second: int64 (P,) index of the other one.
        is_different: boolean (P,), whether they are of different regions.
    """

    first: Tensor
    second: Tensor
    is_different: Tensor


def pairs_by_distance(
    label: Tensor,
    distances: Sequence[int],
    count: int,
    generator: np.random.Generator,
    ignore_index: int = IGNORE_INDEX,
    ground_index: int | None = None,
) -> list[PixelPairs]:
    """Draw pairs of pixels that are each of several distances apart.

    The first pixel is drawn anywhere in the image and the second on the circle around it, rounded to pixels. Of these
    draws, up to `count` of one region and up to `count` of two are kept; small images repeat some.

    Args:
        label: (H, W) integers of 0 or more: classes, regions or instances.
        distances: Euclidean distances in pixels, of at least 1.
        count: The most pairs of either kind, for every distance.
        generator: What draws.
        ignore_index: Label of the pixels that make no pairs.
        ground_index: Label of a ground that is many regions, not one: two of its pixels make no pair. None if there is
            no such label.

    Returns:
        The pairs for each distance; none where there are none.

    Raises:
        ValueError: The shape, type or values of `label`, a distance or `count` are wrong.

    Example:
        >>> label = torch.arange(40).expand(30, 40) // 20
        >>> near, far = pairs_by_distance(label, (1, 25), 100, np.random.default_rng(0))
        >>> len(near.first), near.is_different.sum().item()
        (200, 100)
    """
    regions, distances, count = _checked(label, distances, count, ignore_index)
    pairs = []
    for distance in distances:
        start = [generator.integers(size, size=_DRAWS) for size in regions.shape]
        angle = generator.uniform(0, 2 * math.pi, _DRAWS)
        end = [start[0] + _rounded(distance * np.sin(angle)), start[1] + _rounded(distance * np.cos(angle))]
        one, other = _look(regions, *start), _look(regions, *end)
        is_pair = (one != _NONE) & (other != _NONE) & ~((one == other) & (one == ground_index))
        same, different = (np.flatnonzero(is_pair & kind)[:count] for kind in (one == other, one != other))
        first, second = (row * regions.shape[1] + column for row, column in (start, end))
        pairs.append(_pairs(first[same], second[same], first[different], second[different]))
    return pairs


def pairs_by_border(
    label: Tensor,
    distances: Sequence[int],
    count: int,
    generator: np.random.Generator,
    ignore_index: int = IGNORE_INDEX,
    ground_index: int | None = None,
) -> list[PixelPairs]:
    """Draw pairs of pixels on two sides and on one side of a border, at each of several distances to it.

    Distances to the border are those of `border_distance`. For distance w a first pixel is drawn among those at w. The
    second one of a different pair is the nearest at w too that has another label: straight across the border that is
    2w - 1 pixels away, and up to 8 more are allowed for a void outline or a bend. The second one of a same pair has
    the same first pixel, the same label, and an offset as long, turned by right angles or mirrored: of these pixels,
    the one whose distance to the border is nearest to w. So both kinds have the same first pixels and lengths, and only
    the side differs. First pixels that do not find both make no pairs.

    Args:
        label: (H, W) integers of 0 or more: classes, regions or instances.
        distances: Distances to the border in pixels, of at least 1; pixels on either side of it have 1.
        count: The most pairs of either kind, for every distance.
        generator: What draws.
        ignore_index: Label of the pixels that make no pairs. Their outlines are borders.
        ground_index: Label of a ground that is many regions, not one: no first pixel lies there. None if there is no
            such label.

    Returns:
        The pairs for each distance, as many of either kind; none where there are none.

    Raises:
        ValueError: The shape, type or values of `label`, a distance or `count` are wrong.

    Example:
        >>> label = torch.arange(40).expand(30, 40) // 20
        >>> (pairs,) = pairs_by_border(label, (1,), 100, np.random.default_rng(0))
        >>> sorted(set((pairs.second - pairs.first)[pairs.is_different].tolist()))  # to the left and to the right
        [-1, 1]
        >>> sorted(set((pairs.second - pairs.first)[~pairs.is_different].tolist()))  # above and below
        [-40, 40]
    """
    regions, distances, count = _checked(label, distances, count, ignore_index)
    ring = border_distance(label).cpu().numpy()
    pairs = []
    for distance in distances:
        may_be_first = (ring == distance) & (regions != _NONE)
        if ground_index is not None:
            may_be_first &= regions != ground_index
        first = generator.permutation(np.argwhere(may_be_first))[:count]
        first, offset = _across(regions, ring, first, distance, generator)
        beside = first + _beside(regions, ring, first, offset, distance, generator)
        # A second pixel that is the first one stands for none.
        found = (beside != first).any(1)
        index = [place[found] @ (regions.shape[1], 1) for place in (first, beside, first + offset)]
        pairs.append(_pairs(index[0], index[1], index[0], index[2]))
    return pairs


def _across(
    regions: np.ndarray, ring: np.ndarray, first: np.ndarray, distance: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first pixels (P, 2) that have a nearest one across the border, and its offset (P, 2)."""
    found = [(np.empty((0, 2), int), np.empty((0, 2), int))]
    for length in range(2 * distance - 1, 2 * distance + _OUTLINE):
        side = np.arange(-length, length + 1)
        square = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
        offsets = generator.permutation(
            square[abs(square).max(1) == length]
        )  # so that none is nearest by its direction
        offsets = offsets[np.argsort((offsets**2).sum(1), kind="stable")]
        rows, columns = np.moveaxis(first[:, None] + offsets, -1, 0)
        other = _look(regions, rows, columns)
        fits = (
            (other != _NONE) & (other != _look(regions, *first.T)[:, None]) & (_look(ring, rows, columns) == distance)
        )
        has = fits.any(1)
        found.append((first[has], offsets[fits[has].argmax(1)]))
        first = first[~has]
    return np.concatenate([start for start, _ in found]), np.concatenate([offset for _, offset in found])


def _beside(
    regions: np.ndarray,
    ring: np.ndarray,
    first: np.ndarray,
    offset: np.ndarray,
    distance: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return the offset (P, 2) of every first pixel to one of its own region as far away; 0 if there is none."""
    flips = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    turned = [flip * part for part in (offset, offset[:, ::-1]) for flip in flips]
    offsets = np.stack(turned, 1)[:, generator.permutation(8)]
    rows, columns = np.moveaxis(first[:, None] + offsets, -1, 0)
    is_same = _look(regions, rows, columns) == _look(regions, *first.T)[:, None]
    away = np.where(is_same, abs(_look(ring, rows, columns) - distance), np.iinfo(int).max)
    nearest = offsets[np.arange(len(first)), away.argmin(1)]
    return np.where(is_same.any(1, keepdims=True), nearest, 0)


def _look(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the values (H, W) at pixels, `_NONE` outside of the image."""
    height, width = values.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return np.where(inside, values[rows.clip(0, height - 1), columns.clip(0, width - 1)], _NONE)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(np.int64)


def _pairs(first: np.ndarray, same: np.ndarray, other_first: np.ndarray, different: np.ndarray) -> PixelPairs:
    starts, ends = (torch.from_numpy(np.concatenate(parts)) for parts in ((first, other_first), (same, different)))
    return PixelPairs(starts, ends, torch.arange(len(starts)) >= len(first))


def _checked(
    label: Tensor, distances: Sequence[int], count: int, ignore_index: int
) -> tuple[np.ndarray, list[int], int]:
    """Return the regions (H, W) with `_NONE` for pixels that make no pairs, the distances and the count."""
    check_integer("label", label)
    if label.ndim != 2 or 0 in label.shape:
        raise ValueError(f"label must have shape (H, W) with at least 1 pixel, got {tuple(label.shape)}")
    checked = [number for number in map(as_integer, distances) if number is not None and number >= 1]
    if not checked or len(checked) < len(distances):
        raise ValueError(f"distances must be integers of at least 1, got {distances!r}")
    regions = label.cpu().numpy().astype(np.int64)
    known = regions != ignore_index
    if regions[known].min(initial=0) < 0:
        raise ValueError(f"label must be 0 or more where it is not ignore_index={ignore_index}, got {regions.min()}")
    return np.where(known, regions, _NONE), checked, check_int("count", count, 1)


def separability(embedding: Tensor, pairs: PixelPairs) -> float:
    """Return how well the L1 distance of two pixels' embeddings tells whether they are of different regions.

    It is the area under the ROC curve: the probability that a different pair is farther apart than a same pair. 1 is
    perfect, 0.5 is chance. It does not change with the scale of the embedding, nor with the numbers of the pairs.

    Args:
        embedding: Floating-point (E, H, W), of the label map that the pairs were drawn on.
        pairs: The pairs.

    Returns:
        The area, 0 to 1; nan if there are fewer than 10 pairs of either kind.

    Raises:
        TypeError: `embedding` is no tensor.
        ValueError: Its shape or type is wrong, it has a value that is not finite, or is smaller than the label map.

    Example:
        >>> label = torch.arange(40).expand(30, 40) // 20
        >>> (pairs,) = pairs_by_border(label, (3,), 100, np.random.default_rng(0))
        >>> separability(label[None].float(), pairs), separability(torch.zeros(1, 30, 40), pairs)
        (1.0, 0.5)
    """
    check_tensor("embedding", embedding, "a floating-point tensor of shape (E, H, W)", lambda tensor: tensor.dim() == 3)
    check_finite("embedding", embedding)
    pixels = embedding.flatten(1)
    most = int(torch.cat([pairs.first, pairs.second]).max()) if len(pairs.first) else 0
    if most >= pixels.shape[1]:
        raise ValueError(
            f"embedding must be of the size of the label map, which has a pixel {most}, got {tuple(embedding.shape)}"
        )
    kinds = (pairs.is_different.logical_not(), pairs.is_different)
    if min(int(kind.sum()) for kind in kinds) < LEAST_PAIRS:
        return math.nan
    first, second = (pixels[:, index.to(pixels.device)].float() for index in pairs[:2])
    distance = (first - second).abs().sum(0).cpu()
    return area_under_curve(*(distance[kind] for kind in kinds))


def area_under_curve(negative: Tensor, positive: Tensor) -> float:
    """Return the area under the ROC curve: the probability that a positive value is the larger, ties count half.

    It is the statistic U of Mann and Whitney's test over the product of the numbers.

    Args:
        negative: (N,) values that should be small.
        positive: (M,) values that should be large.

    Raises:
        ValueError: There are none of either.

    Example:
        >>> area_under_curve(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0]))
        0.875
    """
    if not (len(negative) and len(positive)):
        raise ValueError(f"both kinds must have values, got {len(negative)} negative and {len(positive)} positive ones")
    ordered = negative.sort().values
    below, upto = (torch.searchsorted(ordered, positive, right=right).sum().item() for right in (False, True))
    return (below + upto) / (2 * len(negative) * len(positive))
