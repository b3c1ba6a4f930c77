"""COCO's masks: polygons and run lengths, as pycocotools reads and writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

_FINE = 5  # points of an outline per pixel, as in pycocotools


class RunLengths(TypedDict):
    """A mask as COCO's annotations have it: height and width, and the compressed run lengths."""

    size: list[int]
    counts: str


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Return a mask, bool (H, W), given polygons or run lengths of an annotation.

    The result is that of pycocotools, pixel by pixel. Polygons are cut at the image's border.

    Args:
        segmentation: Polygons, each x, y, x, y, ... in pixels from the image's upper left corner; or a dict with "size"
            (height, width) and "counts": run lengths column by column, of zeros first, in a list or compressed.
        height: Of the image.
        width: Of the image.

    Raises:
        ValueError: If it is neither, of another size, or reaches further out of the image than the image is large.

    Example:
        >>> decode_mask([[1, 0, 3, 0, 3, 2, 1, 2]], 2, 4).astype(int)
        array([[0, 1, 1, 0],
               [0, 1, 1, 0]])
        >>> decode_mask({"size": [2, 4], "counts": [2, 4, 2]}, 2, 4).astype(int)
        array([[0, 1, 1, 0],
               [0, 1, 1, 0]])
    """
    if isinstance(segmentation, list):
        if not segmentation:
            raise ValueError("a polygon needs at least three points, got no polygon")
        mask = np.zeros((height, width), bool)
        for polygon in segmentation:
            mask |= _fill(as_polygon(polygon, height, width), height, width)
        return mask
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError(f"a mask must be polygons or run lengths with 'size' and 'counts', got {segmentation!r:.80}")
    size, counts = segmentation["size"], segmentation["counts"]
    if size != [height, width]:
        raise ValueError(f"run lengths of size {size} in an image of {[height, width]}")
    if isinstance(counts, str):
        counts = _unpack(counts)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("run lengths must be whole numbers of at least 0")
    if sum(counts) != height * width:
        raise ValueError(f"run lengths cover {sum(counts)} of {height * width} pixels")
    return _repeat(counts, height, width)


def encode_mask(mask: np.ndarray) -> RunLengths:
    """Return the compressed run lengths of a mask, bool (H, W), the same as `pycocotools.mask.encode`.

    Example:
        >>> encode_mask(np.array([[False, True, True, False], [False, True, True, False]]))
        {'size': [2, 4], 'counts': '242'}
    """
    changes = np.flatnonzero(np.diff(mask.ravel("F"), prepend=False))
    return {"size": list(mask.shape), "counts": _pack(np.diff(changes, prepend=0, append=mask.size).tolist())}


def mask_box(mask: np.ndarray) -> list[int]:
    """Return left, top, width and height of the pixels of a mask, bool (H, W); zeros if it has none.

    Example:
        >>> mask_box(np.array([[False, True, True, False], [False, True, True, False]]))
        [1, 0, 2, 2]
    """
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        return [0, 0, 0, 0]
    top, left = int(rows[0]), int(columns[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def as_polygon(numbers: Any, height: int, width: int) -> np.ndarray:
    """Return a polygon, (K, 2) of x and y.

    Raises:
        ValueError: If it is none, or one for which pycocotools would end the process, paint at random, take it for a
            box, or fill the memory.
    """
    polygon = np.array(numbers)
    if polygon.ndim != 1 or polygon.dtype.kind not in "iuf" or polygon.size % 2 or polygon.size < 6:
        raise ValueError(f"a polygon needs at least three points, each x and y, got {polygon.size} values")
    longest = max(height, width)
    if not ((polygon >= -longest) & (polygon <= 2 * longest)).all():  # nor is NaN
        raise ValueError(f"a polygon reaches far out of its image of {[height, width]}, or is not finite")
    points = polygon.reshape(-1, 2).astype(np.float64)
    if np.abs(points - np.roll(points, 1, axis=0)).sum() > 1000 * (height + width):
        raise ValueError("the outline of a polygon is longer than a thousand times that of its image")
    return points


def _fill(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fill a polygon as pycocotools' `rleFrPoly` does.

    Its outline is drawn with five points per pixel. Where it crosses the middle of a column, from this row on the
    column, and all that follows in order of columns, is inside if it was outside, and outside if it was inside.
    """
    corners = np.trunc(_FINE * points + 0.5)
    ends = np.stack([corners, np.roll(corners, -1, axis=0)])
    extent = np.abs(ends[1] - ends[0])
    steep = extent[:, 0] < extent[:, 1]
    ends[:, steep] = ends[:, steep, ::-1]  # now the first coordinate is the one that changes with every point
    back = ends[0, :, 0] > ends[1, :, 0]
    low, high = np.where(back[:, None], ends[::-1], ends)
    length = high[:, 0] - low[:, 0]
    slope = (high[:, 1] - low[:, 1]) / np.maximum(length, 1)
    count = length.astype(np.int64) + 1
    edge = np.repeat(np.arange(len(points)), count)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    step = np.where(back[edge], length[edge] - step, step)
    first, second = low[edge, 0] + step, np.trunc(low[edge, 1] + slope[edge] * step + 0.5)
    x, y = np.where(steep[edge], second, first), np.where(steep[edge], first, second)
    column = (np.where(x[1:] < x[:-1], x[1:], x[1:] - 1) + 0.5) / _FINE - 0.5
    crosses = (x[1:] != x[:-1]) & (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    row = np.ceil(np.clip((np.minimum(y[1:], y[:-1])[crosses] + 0.5) / _FINE - 0.5, 0, height))
    crossings = np.sort((column[crosses] * height + row).astype(np.int64))
    return _repeat(np.diff(crossings, prepend=0, append=height * width), height, width)


def _repeat(counts: Sequence[int] | np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the mask (H, W) of run lengths, column by column, of zeros first."""
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def _pack(counts: list[int]) -> str:
    """Return run lengths as a string of COCO's, which `_unpack` describes."""
    text = []
    for index, count in enumerate(counts):
        number = count - (counts[index - 2] if index > 2 else 0)
        while True:
            digit, number = number & 31, number >> 5
            last = number == (-1 if digit & 16 else 0)
            text.append(chr(48 + digit + (0 if last else 32)))
            if last:
                break
    return "".join(text)


def _unpack(text: str) -> list[int]:
    """Return the run lengths in a string of COCO's.

    Each is a number in base 32, lowest digit first: characters from "0" on hold five bits, a sixth says that more
    follow, and the highest bit of the last is the sign. From the fourth on, numbers are differences to the one before
    the last, which belongs to the same kind of run.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 60:
            raise ValueError(f"run lengths hold {character!r} where it can be no part of a number")
        number |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("run lengths end inside a number")
    return counts
