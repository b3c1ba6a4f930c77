import numpy as np
import pytest
import torch
from PIL import Image

from segaware.data import DataError, check_pair, find_pairs, read_image, read_label, to_sample, voc_palette, write_png

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
INDICES = np.array([[0, 1, 2], [255, 2, 0]], np.uint8)


def test_rgb_survives_a_round_trip(tmp_path):
    write_png(tmp_path / "a.png", RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_every_8_bit_mode_becomes_rgb(tmp_path, mode):
    gray = np.array([[0, 153, 255]], np.uint8)  # all three are in Pillow's web palette
    image = Image.fromarray(gray).convert("RGB").convert(mode)
    if mode == "RGBA":
        image.putalpha(7)
    image.save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    result = read_image(next(tmp_path.iterdir()))
    np.testing.assert_array_equal(result, np.repeat(gray[:, :, None], 3, 2))


@pytest.mark.parametrize("array", [np.full((4, 4), 1000, np.uint16), np.zeros((4, 4), np.float32)])
def test_deeper_pixels_are_an_error(tmp_path, array):
    Image.fromarray(array).save(tmp_path / "deep.tif")
    with pytest.raises(DataError, match=r"deep\.tif: pixels must be 8-bit"):
        read_image(tmp_path / "deep.tif")


@pytest.mark.parametrize("with_palette", [False, True])
def test_label_keeps_its_indices(tmp_path, with_palette):
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", INDICES, palette if with_palette else None)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", 3), INDICES)
    colours = palette[INDICES] if with_palette else np.repeat(INDICES[:, :, None], 3, 2)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), colours)


def test_label_out_of_range_names_value_place_and_range(tmp_path):
    write_png(tmp_path / "a.png", INDICES)
    with pytest.raises(DataError, match=r"a\.png: label value 2 at row 0, column 2 is neither in 0\.\.1 nor 255"):
        read_label(tmp_path / "a.png", 2)


@pytest.mark.parametrize("with_palette", [False, True])
def test_a_mask_of_0_and_255_is_no_label(tmp_path, with_palette):
    mask = np.where(INDICES > 0, np.uint8(255), np.uint8(0))
    write_png(tmp_path / "a.png", mask, voc_palette() if with_palette else None)
    with pytest.raises(DataError, match=r"a\.png: .* 0 and 255 alone.* 0 for ground and 1 for the object"):
        read_label(tmp_path / "a.png", 21)


def test_rgb_label_is_an_error(tmp_path):
    write_png(tmp_path / "a.png", RGB)
    with pytest.raises(DataError, match=r"a\.png: .*one 8-bit channel.*'RGB' with 3 channel"):
        read_label(tmp_path / "a.png", 3)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_file_cut_anywhere_is_one_clear_error(tmp_path, suffix):
    Image.fromarray(RGB.repeat(9, 0).repeat(9, 1)).save(tmp_path / f"whole.{suffix}")
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    path = tmp_path / f"cut.{suffix}"
    for length in range(0, len(whole) - 40, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"cut\.{suffix}: cannot be decoded"):
            read_image(path)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_png(tmp_path / "a.png", INDICES)

    def full_disk(self, path, format):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="disk full"):
        write_png(tmp_path / "a.png", RGB)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", 3), INDICES)


@pytest.mark.parametrize(
    ("array", "palette", "message"),
    [
        (np.zeros((2, 2)), None, "array must be uint8"),
        (np.zeros((2, 2, 4), np.uint8), None, "array must be uint8"),
        (INDICES, np.zeros((257, 3), np.uint8), "palette must be uint8"),
        (RGB, np.zeros((256, 3), np.uint8), "palette is for"),
    ],
)
def test_write_png_refuses(tmp_path, array, palette, message):
    with pytest.raises(ValueError, match=message):
        write_png(tmp_path / "a.png", array, palette)
    assert not list(tmp_path.iterdir())


def test_check_pair_tells_both_sizes():
    with pytest.raises(DataError, match=r"street: the label's size 5x6 .* is not its image's 5x7"):
        check_pair(RGB, np.zeros((5, 6), np.uint8), "street")
    with pytest.raises(DataError, match=r"street: an image must have shape \(H, W, 3\), got \(5, 7\)"):
        check_pair(RGB[:, :, 0], np.zeros((5, 7), np.uint8), "street")


def test_to_sample_scales_and_moves_channels_first():
    sample = to_sample(RGB, np.full((5, 7), 255, np.uint8), "noise")
    assert sample.image.dtype == torch.float32 and sample.image.is_contiguous()
    assert sample.label.dtype == torch.int64 and (sample.label == 255).all()
    for channel, row, column in [(0, 0, 0), (1, 4, 2), (2, 3, 6)]:
        assert sample.image[channel, row, column].item() == pytest.approx(RGB[row, column, channel] / 255)


def test_find_pairs(tmp_path):
    images, targets = tmp_path / "images", tmp_path / "targets"
    with pytest.raises(DataError, match="images: no such folder"):
        find_pairs(images, targets, ".png")
    images.mkdir()
    targets.mkdir()
    with pytest.raises(DataError, match=r"images: holds no \.jpg"):
        find_pairs(images, targets, ".png")
    for name in ("b", "a"):
        (images / f"{name}.jpg").touch()
        (targets / f"{name}.png").touch()
    assert find_pairs(images, targets, ".png") == [
        (images / "a.jpg", targets / "a.png"),
        (images / "b.jpg", targets / "b.png"),
    ]
    (targets / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: no such file.*1 of 2"):
        find_pairs(images, targets, ".png")
