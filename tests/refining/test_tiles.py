"""Dividing an image into tiles."""

import numpy as np
import pytest

from segaware.refining.tiles import Extent, split


def area(extent: Extent) -> int:
    return extent.padded[0] * extent.padded[1]


@pytest.mark.parametrize("size", [(61, 83), (8, 200), (64, 64)])
def test_tiles_cover_every_pixel_once_with_their_halo_and_fit(size: tuple[int, int]) -> None:
    tiles = split(size, halo=5, step=4, cost=area, limit=700)
    seen = np.zeros(size, int)
    for rows, columns in tiles:
        seen[rows.core(), columns.core()] += 1
        for span, length in zip((rows, columns), size, strict=True):
            assert span.padded_start % 4 == span.start % 4 == 0
            assert span.padded_start <= max(span.start - 5, 0) and span.padded_stop >= min(span.stop + 5, length)
        assert (rows.padded_stop - rows.padded_start) * (columns.padded_stop - columns.padded_start) <= 700
    assert len(tiles) > 1 and (seen == 1).all()


def test_one_tile_if_it_fits_or_if_there_is_no_limit() -> None:
    assert split((60, 80), 5, 4, area, 4800) == split((60, 80), 5, 4, area, None)
    assert len(split((60, 80), 5, 4, area, 4799)) > 1


def test_too_little_says_what_the_smallest_tile_costs() -> None:
    with pytest.raises(MemoryError) as error:
        split((60, 80), 5, 4, area, 399)
    assert error.value.args == (400,)  # 4 pixels and 8 on each side
