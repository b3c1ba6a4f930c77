import numpy as np
import pytest
import torch

from segaware.viz import colorize, embedding_colors, error_map, mask_picture, overlay

PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
PHOTO = np.random.default_rng(1).integers(0, 256, (2, 3, 3), dtype=np.uint8)
LABEL = np.array([[0, 15, 255], [7, 7, 1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_colorize_looks_every_pixel_up(dtype):
    picture = colorize(LABEL.astype(dtype), PALETTE)
    assert picture.shape == (2, 3, 3) and picture.dtype == np.uint8
    for row, column in np.ndindex(2, 3):
        assert picture[row, column].tolist() == PALETTE[LABEL[row, column]].tolist()


def test_overlay_mixes_photograph_and_colors():
    picture = overlay(PHOTO, LABEL, PALETTE, opacity=0.25)
    for index in np.ndindex(2, 3, 3):
        mixed = 0.75 * PHOTO[index] + 0.25 * PALETTE[LABEL[index[:2]]][index[2]]
        assert abs(int(picture[index]) - mixed) <= 0.5
    assert (overlay(PHOTO, LABEL, PALETTE, opacity=0) == PHOTO).all()
    assert (overlay(PHOTO, LABEL, PALETTE, opacity=1) == colorize(LABEL, PALETTE)).all()


def test_error_map_worked_example():
    red, grey, black = [214, 39, 40], [232, 232, 232], [0, 0, 0]
    picture = error_map(np.array([[1, 2, 3], [0, 255, 4]]), np.array([[1, 1, 255], [0, 255, 5]]))
    assert picture.tolist() == [[grey, red, black], [grey, black, red]]
    assert error_map(np.array([[1, 2]]), np.array([[1, 1]]), ignore_index=1).tolist() == [[black, black]]


def two_regions(size, seed=0):
    """Embedding of a picture whose left quarter differs from the rest by a random step."""
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(size, 1, 1, generator=generator).expand(size, 8, 16).clone()
    embedding[:, :, :4] += torch.randn(size, 1, 1, generator=generator)
    return embedding


@pytest.mark.parametrize("size", [1, 2, 8])
def test_two_regions_get_two_colors_and_missing_components_are_grey(size):
    # A step is one component, whatever the size: the second and third are only rounding and must not be stretched.
    picture = embedding_colors(two_regions(size))
    assert (picture[:, :4] == [255, 128, 128]).all()  # the first pixel far from the mean is bright
    assert (picture[:, 4:] == [0, 128, 128]).all()


def test_embedding_colors_ignore_rotations_and_mirrors():
    generator = torch.Generator().manual_seed(3)
    spread = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5]).reshape(5, 1, 1)
    embedding = (spread * torch.randn(5, 12, 10, generator=generator)).double()
    expected = embedding_colors(embedding)
    for channel in range(3):  # red is the strongest component, then green, then blue
        assert abs(np.corrcoef(expected[..., channel].ravel(), embedding[channel].ravel())[0, 1]) > 0.9
    for _ in range(5):
        rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator).double())
        turned = torch.einsum("fe,ehw->fhw", rotation, embedding) + 7
        assert abs(embedding_colors(turned).astype(int) - expected).max() <= 1
    assert abs(embedding_colors(-embedding).astype(int) - expected).max() <= 1


def test_embedding_colors_stretch_between_percentiles():
    # One channel: its component is the channel itself, up to sign.
    ramp = torch.arange(-100.0, 101.0).flip(0)
    ramp[-1] = -10_000.0  # a lone outlier must not squeeze the rest
    red = embedding_colors(ramp.reshape(1, 1, 201))[0, :, 0].astype(int)
    assert {red[0], red[-1]} == {0, 255} and {red[2], red[198]} == {0, 255}
    steps = np.diff(red[2:199])
    assert set(np.abs(steps)) <= {1, 2}  # 255 / 196 levels a pixel


def test_region_smaller_than_one_percent_is_still_seen():
    embedding = 1e-9 * torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(0)).double()
    embedding[:, 0, 0] = 1
    red = embedding_colors(embedding)[..., 0]
    assert red[0, 0] == 255
    assert (red.ravel()[1:] == 0).all()  # the noise of the ground is not blown up


@pytest.mark.parametrize("value", [0.0, 100.1])
def test_constant_embedding_is_grey(value):
    assert (embedding_colors(torch.full((4, 5, 6), value)) == 128).all()


def test_mask_picture_shows_values_and_frames_the_centre():
    mask = torch.arange(15).float() / 20
    picture = mask_picture(mask, (3, 5), scale=4)
    assert picture.shape == (12, 20, 3)
    for row, column in np.ndindex(3, 5):
        middle = picture[4 * row + 1 : 4 * row + 3, 4 * column + 1 : 4 * column + 3]
        assert abs(middle - 255 * (5 * row + column) / 20).max() <= 0.5
    framed = (picture != picture[..., :1]).any(-1)
    assert framed.sum() == 12 and framed[4:8, 8:12].sum() == 12  # the rim of a 4 x 4 tap, and nothing else


def test_integers_of_numpy_are_integers():
    mask = torch.arange(9).float() / 9
    for kernel_size in (np.int64(3), (np.uint8(3), np.int32(3))):
        assert (mask_picture(mask, kernel_size, np.int64(4)) == mask_picture(mask, 3, 4)).all()


FLOAT = torch.zeros(2, 3, 4)
MASK = torch.zeros(9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: colorize(LABEL.astype(float), PALETTE), "label must be an integer array"),
        (lambda: colorize(torch.zeros(2, 3, dtype=torch.int64), PALETTE), "label must be an integer array"),
        (lambda: colorize(LABEL[0], PALETTE), r"label .* shape \(3,\)"),
        (lambda: colorize(LABEL - 1, PALETTE), r"label must lie in 0\.\.255, got -1"),
        (lambda: colorize(LABEL + 1, PALETTE), "got 1..256"),
        (lambda: colorize(LABEL, PALETTE[:21]), r"palette must .* shape \(21, 3\)"),
        (lambda: colorize(LABEL, PALETTE / 255), "palette must .* float64"),
        (lambda: overlay(PHOTO / 255, LABEL, PALETTE), "image must be a uint8 array"),
        (lambda: overlay(PHOTO, LABEL[:1], PALETTE), r"label must have the image's .*\(1, 3\)"),
        (lambda: overlay(PHOTO, LABEL, PALETTE, opacity=60), "opacity must lie in 0..1, got 60"),
        (lambda: error_map(LABEL, LABEL.astype(float)), "target must be an integer array"),
        (lambda: error_map(LABEL.astype(float), LABEL), "prediction must be an integer array"),
        (lambda: error_map(LABEL, LABEL[:1]), "prediction must have the target's shape"),
        (lambda: embedding_colors(FLOAT[None]), "embedding must .* shape .1, 2, 3, 4"),
        (lambda: embedding_colors(FLOAT.long()), "embedding must .*int64"),
        (lambda: embedding_colors(FLOAT.numpy()), "embedding must .* tensor"),
        (lambda: embedding_colors(FLOAT / 0), "embedding must be finite"),
        (lambda: embedding_colors(FLOAT[:, :0]), "not empty"),
        (lambda: mask_picture(MASK, 5), r"mask must .* shape \(25,\)"),
        (lambda: mask_picture(MASK.long(), 3), "mask must .*int64"),
        (lambda: mask_picture(MASK + 2, 3), "mask must lie in 0..1, got 2..2"),
        (lambda: mask_picture(MASK[:8], (2, 4)), "kernel_size must be odd"),
        (lambda: mask_picture(MASK, 3, scale=2), "scale must be at least 3, got 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
