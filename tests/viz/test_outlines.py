import numpy as np
import pytest

from segaware.viz import draw_outlines

ORANGE, BLUE = (255, 96, 0), (0, 200, 255)


def test_what_has_moved_is_orange_and_what_is_now_is_blue():
    before, after = np.zeros((2, 6, 9), int)
    before[:, :3] = after[:, :3] = 5
    before[:, 6:] = 700
    after[:, 7:] = 700
    image = np.full((6, 9, 3), 80, np.uint8)
    row = draw_outlines(image, before, after, side=9)[3].tolist()
    wanted = {2: BLUE, 3: BLUE, 5: ORANGE, 6: BLUE, 7: BLUE}  # a border has a pixel on both of its sides
    assert row == [list(wanted.get(column, (80, 80, 80))) for column in range(9)]


@pytest.mark.parametrize(("side", "size"), [(36, (12, 36)), (6, (2, 6)), (9999, (32, 96))])
def test_size(side, size):
    mask = np.zeros((4, 12), bool)
    mask[1:3, 3:6] = True
    picture = draw_outlines(np.zeros((4, 12, 3), np.uint8), mask, mask, side)
    assert picture.shape == (*size, 3) and (picture == BLUE).all(-1).any() and not (picture == ORANGE).all(-1).any()


def test_labels_of_another_size_are_named():
    image, mask = np.zeros((4, 12, 3), np.uint8), np.zeros((4, 12), bool)
    with pytest.raises(ValueError, match=r"after must have the image's height and width \(4, 12\), got \(3, 12\)"):
        draw_outlines(image, mask, mask[1:])
    with pytest.raises(ValueError, match="image must be a uint8 array"):
        draw_outlines(mask, mask, mask)
