import numpy as np
import pytest

from segaware.data import CAMVID_PALETTE, SCENES_PALETTE, CamVid, Scenes, palette_for, voc_palette


def test_voc_palette_has_the_published_colours():
    palette = voc_palette()
    published = {
        1: (128, 0, 0),  # aeroplane
        8: (64, 0, 0),  # cat
        15: (192, 128, 128),  # person
        20: (0, 64, 128),  # tv monitor
        255: (224, 224, 192),  # void
    }
    for index, colour in published.items():
        assert tuple(palette[index]) == colour
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert len(np.unique(palette, axis=0)) == 256


@pytest.mark.parametrize("n", [0, 257])
def test_voc_palette_refuses(n):
    with pytest.raises(ValueError, match="n must be in"):
        voc_palette(n)


@pytest.mark.parametrize(
    ("name", "own", "dataset"), [("camvid", CAMVID_PALETTE, CamVid), ("scenes", SCENES_PALETTE, Scenes)]
)
def test_palette_for_classes(name, own, dataset):
    palette = palette_for(name)
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert len(own) == dataset.num_classes == len(np.unique(own, axis=0))
    np.testing.assert_array_equal(palette[: len(own)], own)
    assert not palette[len(own) :].any()


def test_palette_for_others():
    np.testing.assert_array_equal(palette_for("bsds500"), voc_palette())
    with pytest.raises(ValueError, match="got 'cityscapes'"):
        palette_for("cityscapes")
