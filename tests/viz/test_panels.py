import numpy as np
import pytest

from segaware.viz import mark_points, side_by_side


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_pictures_stand_in_a_row_below_their_captions():
    left, right = noise(50, 170), noise(50, 200, seed=1)
    row = side_by_side([("left", left), ("right", right)], gap=10)
    assert row.shape == (24 + 50, 170 + 10 + 200, 3) and row.dtype == np.uint8
    assert (row[24:, :170] == left).all()
    assert (row[24:, 180:] == right).all()
    assert (row[:, 170:180] == 255).all()
    assert row[:24, :170].min() < 100 and row[:24, 180:].min() < 100  # dark letters


def test_small_pictures_are_enlarged_by_whole_pixels():
    small, smaller = noise(20, 70), noise(20, 60, seed=1)
    row = side_by_side([("a", small), ("b", smaller)], gap=8)
    assert row.shape == (24 + 60, 3 * 70 + 8 + 3 * 60, 3)
    for y, x in np.ndindex(60, 180):
        assert (row[24 + y, 218 + x] == smaller[y // 3, x // 3]).all()


def test_a_long_caption_stays_above_its_picture():
    white = np.full((30, 160, 3), 255, np.uint8)
    alone = side_by_side([("short", white)])
    long = side_by_side([("a very long caption " * 10, white), ("short", white)])
    assert (long[:, 160:168] == 255).all()
    assert (long[:, 168:] == alone).all()
    assert long[:24, 120:160].min() < 100  # but as much of it as there is room for


@pytest.mark.parametrize("ground", [0, 128, 255])
@pytest.mark.parametrize("point", [(30, 40), (0, 0), (0, 79), (59, 0), (59, 79)])
def test_marks_are_visible_on_any_ground_and_near_any_border(ground, point):
    image = np.full((60, 80, 3), ground, np.uint8)
    marked = mark_points(image, [point])
    assert (image == ground).all()
    contrast = abs(marked.astype(int) - ground).max(-1)
    row, column = point
    near = contrast[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
    assert near.max() > 100
    assert marked[row, column].tolist() == [255, 255, 255]
    rows, columns = np.nonzero(contrast)
    assert abs(rows - row).max() <= 20 and abs(columns - column).max() <= 20
    assert (contrast > 100).sum() > 25  # cross and number


def test_marks_carry_different_numbers():
    image = np.full((60, 120, 3), 128, np.uint8)
    marked = mark_points(image, [(30, 30), (30, 90)])
    first, second = marked[:, :60], marked[:, 60:]
    assert (first[28:37, 23:34] == second[28:37, 23:34]).all()  # the same cross
    assert (first != second).any()


def test_mark_points_without_points_changes_nothing():
    image = noise(5, 6)
    assert (mark_points(image, []) == image).all()


PICTURE = noise(5, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: side_by_side([]), "at least one panel"),
        (lambda: side_by_side([("a", PICTURE)], gap=-1), "gap -1"),
        (lambda: side_by_side([("a", PICTURE), ("a", PICTURE[:4])]), r"one height, got \[5, 4\]"),
        (lambda: side_by_side([("a", PICTURE / 255)]), "panel 'a' must be a uint8 array .* float64"),
        (lambda: side_by_side([("a", PICTURE[..., 0])]), r"panel 'a' .* shape \(5, 6\)"),
        (lambda: side_by_side([("a", PICTURE[:0])]), r"panel 'a' .* shape \(0, 6, 3\)"),
        (lambda: mark_points(PICTURE[..., :2], []), "image must be a uint8 array"),
        (lambda: mark_points(PICTURE, [(5, 0)]), r"points must lie inside .* 5 x 6 pixels, got \(5, 0\)"),
        (lambda: mark_points(PICTURE, [(0, -1)]), "points must lie inside"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
