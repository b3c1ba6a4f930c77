"""Dividing an image into tiles that overlap by all that a pixel depends on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Span(NamedTuple):
    """A tile along one axis, in pixels of the image: what it computes, and with its halo what it reads."""

    start: int
    stop: int
    padded_start: int
    padded_stop: int

    def core(self, stride: int = 1) -> slice:
        """Return what the tile computes, of an array at a stride to the image."""
        return _sampled(self.start, self.stop, stride)

    def padded(self, stride: int = 1) -> slice:
        """Return what the tile reads, of an array at a stride to the image."""
        return _sampled(self.padded_start, self.padded_stop, stride)

    def widened(self, margin: int, step: int) -> Span:
        """Return a span that computes `margin` more pixels at both ends, within what it reads."""
        start = max((self.start - margin) // step * step, self.padded_start)
        return Span(start, min(self.stop + margin, self.padded_stop), self.padded_start, self.padded_stop)


class Tile(NamedTuple):
    """A rectangle of an image."""

    rows: Span
    columns: Span


class Extent(NamedTuple):
    """Height and width of a tile, and the same with its halo."""

    core: tuple[int, int]
    padded: tuple[int, int]


Cost = Callable[[Extent], float]


def _sampled(start: int, stop: int, stride: int) -> slice:
    return slice(start // stride, (stop + stride - 1) // stride)


def spans(length: int, core: int, halo: int, step: int) -> list[Span]:
    """Divide an axis into spans of `core` pixels, the last one shorter.

    Args:
        length: Pixels of the axis.
        core: Pixels of a span, a multiple of `step`.
        halo: Pixels that the result at a pixel depends on, in each direction.
        step: Spans and their halos begin at multiples of it.

    Returns:
        The spans; none reaches out of the image.

    Example:
        >>> [tuple(span) for span in spans(10, core=4, halo=1, step=2)]
        [(0, 4, 0, 6), (4, 8, 2, 10), (8, 10, 6, 10)]
    """
    halo = (halo + step - 1) // step * step
    starts = range(0, length, core)
    return [
        Span(start, min(start + core, length), max(start - halo, 0), min(start + core + halo, length))
        for start in starts
    ]


def split(size: tuple[int, int], halo: int, step: int, cost: Cost, limit: float | None) -> list[Tile]:
    """Divide an image into tiles that each cost at most `limit`, with the fewest pixels read in total.

    Args:
        size: Height and width of the image.
        halo: See `spans`, like the next.
        step: Where tiles may begin.
        cost: Bytes that a tile takes; grows with its extent.
        limit: The most it may take; None for one tile.

    Raises:
        MemoryError: If even the smallest tile costs more; its argument is what that costs.
    """
    if limit is None:
        rows, columns = (spans(length, length, halo, length)[0] for length in size)
        return [Tile(rows, columns)]
    divisions = [_divisions(length, halo, step) for length in size]
    best: tuple[int, list[Span], list[Span]] | None = None
    for row in divisions[0]:
        for column in divisions[1]:  # from the widest on: the first that fits reads the least
            if cost(_largest(row, column)) <= limit:
                pixels = _read(row) * _read(column)
                if best is None or pixels < best[0]:
                    best = pixels, row, column
                break
    if best is None:
        raise MemoryError(cost(_largest(divisions[0][-1], divisions[1][-1])))
    return [Tile(row, column) for row in best[1] for column in best[2]]


def _divisions(length: int, halo: int, step: int) -> list[list[Span]]:
    """Return all ways to divide an axis into parts of one size, from one part on."""
    steps = (length + step - 1) // step
    cores = sorted({(steps + parts - 1) // parts * step for parts in range(1, steps + 1)}, reverse=True)
    return [spans(length, core, halo, step) for core in cores]


def _largest(rows: list[Span], columns: list[Span]) -> Extent:
    core = (rows[0].stop - rows[0].start, columns[0].stop - columns[0].start)
    height, width = (max(span.padded_stop - span.padded_start for span in axis) for axis in (rows, columns))
    return Extent(core, (height, width))


def _read(axis: list[Span]) -> int:
    return sum(span.padded_stop - span.padded_start for span in axis)
