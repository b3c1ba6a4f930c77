import numpy as np
import pytest

from segaware.data import CamVid, Scenes, dataset, voc_palette


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
    ("name", "reader", "last"), [("camvid", CamVid, (0, 128, 192)), ("scenes", Scenes, (165, 100, 200))]
)
def test_palette_of_classes(name, reader, last):
    palette = dataset(name).palette
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    count = reader.num_classes
    assert len(np.unique(palette[:count], axis=0)) == count and tuple(palette[count - 1]) == last
    assert not palette[count:].any()


def test_palette_of_others():
    np.testing.assert_array_equal(dataset("bsds500").palette, voc_palette())
