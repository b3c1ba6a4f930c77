import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from segaware.data import DataError, check_pair, find_pairs, read_image, read_label, to_sample, voc_palette, write_png

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
INDICES = np.array([[0, 1, 2], [255, 2, 0]], np.uint8)


def _exif(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif.tobytes()


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


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_comes_the_way_up_that_viewers_show_it(tmp_path, orientation, suffix):
    path = tmp_path / f"phone.{suffix}"
    Image.fromarray(RGB).save(path, exif=_exif(orientation))
    with Image.open(path) as image:
        upright = np.array(ImageOps.exif_transpose(image))
    assert upright.shape == ((5, 7, 3) if orientation < 5 else (7, 5, 3))
    np.testing.assert_array_equal(read_image(path), upright)


@pytest.mark.parametrize("with_palette", [False, True])
def test_a_label_with_an_orientation_of_its_own_is_turned_alike(tmp_path, with_palette):
    image = Image.fromarray(INDICES)
    if with_palette:
        image.putpalette(voc_palette().tobytes())
    image.save(tmp_path / "a.png", exif=_exif(6))
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", 3), np.rot90(INDICES, -1))


@pytest.mark.parametrize("exif", [b"garbage", b"II*\0\xff\xff\xff\x7f", b"", _exif(0)[6:], _exif(9)[6:]])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_photograph_with_a_damaged_orientation_is_read_as_stored(tmp_path, exif):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    Image.open(tmp_path / "a.png").save(tmp_path / "b.png", exif=b"Exif\0\0" + exif)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), RGB)


def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (13000, 13000)).save(path)
    assert path.stat().st_size < 30_000
    script = f"""
import resource
from segaware.data import read_image, read_label, DataError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for read in (lambda: read_image({str(path)!r}), lambda: read_label({str(path)!r}, 21)):
    try:
        read()
    except DataError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    *messages, kilobytes = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for message in messages:
        assert "bomb.png: has 13000x13000 (width x height) = 169000000 pixels" in message and "max_pixels" in message
    assert len(messages) == 2 and int(kilobytes) < 20_000


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
@pytest.mark.filterwarnings("error")
def test_the_limit_of_pixels_is_pillows_unless_it_is_given(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"large.{suffix}"
    Image.new("RGB", (100, 60), "red").save(path)
    for usual in (2000, 5999):  # Pillow itself refuses from twice its limit on
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", usual)
        with pytest.raises(DataError, match=rf"100x60 .* = 6000 pixels, more than the limit of {usual}.* max_pixels"):
            read_image(path)
        with pytest.raises(DataError, match=r"6000 pixels, more than the limit of 100"):
            read_image(path, max_pixels=100)
        assert read_image(path, max_pixels=6000).shape == (60, 100, 3)
        assert usual == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(path).shape == (60, 100, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    write_png(tmp_path / "label.png", INDICES)
    np.testing.assert_array_equal(read_label(tmp_path / "label.png", 3, max_pixels=6), INDICES)
    with pytest.raises(DataError, match="more than the limit of 5,"):
        read_label(tmp_path / "label.png", 3)


def _gray_png(path, indices, bits):
    """Write gray of fewer than 8 bits, which Pillow cannot; rows must fill whole bytes."""
    unpacked = (indices[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(unpacked.reshape(len(indices), -1), axis=1)
    data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())  # each row begins with its filter, 0
    header = struct.pack(">IIBBBBB", indices.shape[1], len(indices), bits, 0, 0, 0, 0)
    content = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize("bits", [2, 4])
def test_a_label_of_few_bits_has_the_indices_of_its_file(tmp_path, bits):
    indices = np.arange(2**bits, dtype=np.uint8).reshape(-1, 4)
    _gray_png(tmp_path / "a.png", indices, bits)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", 2**bits), indices)
    with pytest.raises(DataError, match=f"label value {2**bits - 1} at row"):
        read_label(tmp_path / "a.png", 2**bits - 1)


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


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "change", [lambda x: x[::-1], lambda x: x[:, ::-1], lambda x: np.asfortranarray(x)[::-1, ::2], _read_only]
)
@pytest.mark.parametrize("dtype", ["uint8", ">u2", ">i4", "uint32", "uint64", ">i8"])
@pytest.mark.filterwarnings("error")
def test_arrays_of_any_layout_are_taken(tmp_path, change, dtype):
    image, label = change(RGB), change(np.arange(35).reshape(5, 7).astype(dtype))
    sample = to_sample(image, label, "noise")
    np.testing.assert_array_equal(sample.image.mul(255).round().byte().numpy(), image.transpose(2, 0, 1))
    np.testing.assert_array_equal(sample.label.numpy(), label.astype(np.int64))
    sample.image.zero_(), sample.label.zero_()
    assert image.any() and label.any()  # the sample is a copy
    write_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)


@pytest.mark.parametrize("image, label", [(RGB / 255, RGB[..., 0]), (RGB, RGB[..., 0] / 2)])
def test_to_sample_refuses_other_types(image, label):
    with pytest.raises(ValueError, match="noise: want an image of uint8 and a label of integers, got"):
        to_sample(image, label, "noise")


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


def test_find_pairs_takes_any_image_and_any_case(tmp_path):
    images, targets = tmp_path / "images", tmp_path / "targets"
    images.mkdir()
    targets.mkdir()
    names = ["a.JPG", "b.jpeg", "c.png", "d.Jpg", "e.TIFF", "f.webp"]
    for name in names:
        (images / name).touch()
    for name in ("a.png", "b.PNG", "c.Png", "d.png", "e.png", "f.png"):
        (targets / name).touch()
    for name in (".hidden.jpg", "notes.txt", "._a.JPG"):
        (images / name).touch()
    (images / "folder.jpg").mkdir()
    pairs = find_pairs(images, targets, ".png")
    assert [image.name for image, _ in pairs] == names
    assert [target.name for _, target in pairs] == ["a.png", "b.PNG", "c.Png", "d.png", "e.png", "f.png"]
    (images / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.JPG and .*a\.png have the same name"):
        find_pairs(images, targets, ".png")
    (images / "a.png").rename(targets / "a.PNG")
    with pytest.raises(DataError, match=r"a\.PNG and .*a\.png have the same name"):
        find_pairs(images, targets, ".png")
