"""What `segaware refine` reads comes back as it was: modes and palettes of PNGs, 16-bit depth and flow, dtypes."""

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from segaware import refine
from segaware.data import voc_palette
from segaware.data.flow.files import read_kitti_flow, write_flo, write_kitti_flow, write_pfm
from segaware.refining import score_files

SIZE = (12, 17)
COLOR = ("--embedding", "color", "--iterations", "1", "--kernel-size", "3")
PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
LABEL = np.random.default_rng(1).integers(0, 2, SIZE).astype(np.uint8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(PHOTOGRAPH).save(path)
    return path


def expected(scores: np.ndarray, kind: Any = "scores") -> np.ndarray:
    return refine(PHOTOGRAPH, scores, "filter", kind, "color", kernel_size=3, iterations=1)


def palette_image(label: np.ndarray, colors: int) -> Image.Image:
    image = Image.fromarray(label, "L").convert("L")
    image.putpalette((np.arange(3 * colors) * 5 % 256).astype(np.uint8).tobytes())
    return image


@pytest.mark.parametrize("suffix", [".png", ".PNG"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "P of few colours", "I;16"])
def test_labels_keep_mode_indices_and_palette(
    segaware: Any, tmp_path: Path, image: Path, mode: str, suffix: str
) -> None:
    label = LABEL if mode == "1" else LABEL * 3
    if mode[0] == "P":
        written = palette_image(label, 4 if "few" in mode else 200)
    else:
        written = Image.fromarray(label.astype({"1": bool, "L": np.uint8, "I;16": np.uint16}[mode]))
    written.save(tmp_path / f"in{suffix}", "PNG")
    kind = ("--kind", "labels") if mode == "I;16" else ()
    result = segaware("refine", image, tmp_path / f"in{suffix}", "--out", tmp_path / f"out{suffix}", *COLOR, *kind)
    assert result.exit_code == 0, result.output
    before, after = Image.open(tmp_path / f"in{suffix}"), Image.open(tmp_path / f"out{suffix}")
    assert after.mode == before.mode == mode[:4].strip(" of")
    assert after.getpalette() == before.getpalette()
    np.testing.assert_array_equal(np.array(after), expected(label, "labels"))
    if mode == "L":  # as others read it
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / f"out{suffix}"), -1), expected(label, "labels"))


def png_file(label: np.ndarray, bits: int, palette: bytes = b"", size: tuple[int, int] = SIZE) -> bytes:
    """Write indices in so many bits, gray or with a palette of any length; the header may tell another size."""
    spread = np.unpackbits(label[..., None], axis=-1)[..., 8 - bits :].reshape(len(label), -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in spread)
    head = struct.pack(">IIBBBBB", size[1], size[0], bits, 3 if palette else 0, 0, 0, 0)
    chunks = {b"IHDR": head, b"PLTE": palette, b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
        if data or name == b"IEND"
    )


def test_an_index_without_a_colour_is_not_cut_off(segaware: Any, tmp_path: Path, image: Path) -> None:
    label = np.full(SIZE, 255, np.uint8)  # unknown, and so it stays but at a corner
    label[0, :2] = 0, 3
    palette = bytes(range(12))
    (tmp_path / "in.png").write_bytes(png_file(label, 8, palette))
    assert segaware("refine", image, tmp_path / "in.png", "--out", tmp_path / "out.png", *COLOR).exit_code == 0
    after = Image.open(tmp_path / "out.png")
    np.testing.assert_array_equal(np.array(after), expected(label, "labels"))
    assert (np.array(after) == 255).any() and after.getpalette()[:12] == list(palette)


@pytest.mark.parametrize("bits", [2, 4])
def test_gray_of_fewer_bits_is_read_as_indices(segaware: Any, tmp_path: Path, image: Path, bits: int) -> None:
    label = np.random.default_rng(2).integers(0, 2**bits, SIZE).astype(np.uint8)
    (tmp_path / "in.png").write_bytes(png_file(label, bits))
    assert segaware("refine", image, tmp_path / "in.png", "--out", tmp_path / "out.png", *COLOR).exit_code == 0
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out.png")), expected(label, "labels"))


def test_labels_and_classes_from_elsewhere_have_the_colours_of_voc(segaware: Any, tmp_path: Path, image: Path) -> None:
    np.save(tmp_path / "labels.npy", LABEL.astype(np.int64))
    np.save(tmp_path / "scores.npy", np.stack([LABEL, 1 - LABEL]).astype(np.float32))
    for name in ("labels", "scores"):
        out = tmp_path / f"{name}.png"
        assert segaware("refine", image, tmp_path / f"{name}.npy", "--out", out, *COLOR).exit_code == 0
        assert Image.open(out).getpalette()[:6] == voc_palette(2).ravel().tolist()


def test_depth_of_16_bits(segaware: Any, tmp_path: Path, image: Path) -> None:
    depth = np.random.default_rng(3).integers(1000, 60000, SIZE).astype(np.uint16)
    depth[3:8, 3:8] = 0
    cv2.imwrite(str(tmp_path / "depth.png"), depth)
    run = ("refine", image, tmp_path / "depth.png", *COLOR, "--out")
    known = np.where(depth == 0, np.nan, depth).astype(np.float32)
    assert segaware(*run, tmp_path / "out.png", "--unknown", "0").exit_code == 0
    after = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    refined = expected(known, "values")
    assert after.dtype == np.uint16 and np.isnan(refined).any()
    np.testing.assert_array_equal(after, np.rint(np.nan_to_num(refined)))
    assert segaware(*run, tmp_path / "averaged.png").exit_code == 0  # 0 is a depth like others, if nobody says more
    after = cv2.imread(str(tmp_path / "averaged.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(after, np.rint(expected(depth.astype(np.float32), "values")))
    assert segaware(*run, tmp_path / "out.npy", "--unknown", "0").exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.nan_to_num(refined))
    assert segaware(*run, tmp_path / "out.pfm").exit_code == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float16, np.float32, np.float64, ">f4", ">u2"])
def test_unknown_values_of_arrays(segaware: Any, tmp_path: Path, image: Path, dtype: Any) -> None:
    depth = np.random.default_rng(3).integers(1, 200, (2, *SIZE)).astype(dtype)
    depth[:, 3:8, 3:8] = 7
    depth[0, 0, 0] = 7  # of one channel alone: known
    np.save(tmp_path / "depth.npy", depth)
    out = tmp_path / "out.npy"
    options = ("--kind", "values", "--unknown", "7")
    assert segaware("refine", image, tmp_path / "depth.npy", "--out", out, *COLOR, *options).exit_code == 0
    known = depth.astype(np.float32 if np.dtype(dtype).kind in "iu" else np.dtype(dtype).newbyteorder("="))
    known[:, 3:8, 3:8] = np.nan
    wanted = expected(known, "values")
    unknown = np.isnan(wanted)
    after = np.load(out)
    assert after.dtype == np.dtype(dtype).newbyteorder("=") and unknown.any() and not unknown.all()
    assert (after[unknown] == 7).all()
    np.testing.assert_array_equal(after[~unknown], (np.rint(wanted) if after.dtype.kind in "iu" else wanted)[~unknown])


def test_depth_of_8_bits_if_it_is_called_so(segaware: Any, tmp_path: Path, image: Path) -> None:
    Image.fromarray(LABEL * 255).save(tmp_path / "depth.png")
    out = tmp_path / "out.png"
    result = segaware("refine", image, tmp_path / "depth.png", "--out", out, *COLOR, "--kind", "values")
    assert result.exit_code == 0
    after = Image.open(out)
    assert after.mode == "L"
    np.testing.assert_array_equal(np.array(after), np.rint(expected((LABEL * 255).astype(np.float32), "values")))


def test_flow_of_kitti(segaware: Any, tmp_path: Path, image: Path) -> None:
    flow = np.random.default_rng(4).uniform(-50, 50, (*SIZE, 2)).astype(np.float32)
    flow[3:8, 3:8] = np.nan
    write_kitti_flow(tmp_path / "flow.png", flow)
    read, valid = read_kitti_flow(tmp_path / "flow.png")
    wanted = expected(np.where(valid[..., None], read, np.nan).transpose(2, 0, 1), "values").transpose(1, 2, 0)
    run = ("refine", image, tmp_path / "flow.png", *COLOR, "--out")
    assert segaware(*run, tmp_path / "out.png").exit_code == 0
    after, valid = read_kitti_flow(tmp_path / "out.png")
    np.testing.assert_array_equal(valid, np.isfinite(wanted[..., 0]))
    assert valid.any() and not valid.all()
    np.testing.assert_allclose(after[valid], wanted[valid], atol=1 / 128 + 1e-5)
    assert segaware(*run, tmp_path / "out.npy").exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted.transpose(2, 0, 1))
    assert segaware(*run, tmp_path / "out.flo").exit_code == 0


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f2", ">f2", np.longdouble])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_of_any_type_and_order(segaware: Any, tmp_path: Path, image: Path, dtype: Any, order: Any) -> None:
    scores = np.random.default_rng(5).standard_normal((3, *SIZE)).astype(dtype, order=order)
    np.save(tmp_path / "scores.npy", scores)
    (tmp_path / "scores.npy").chmod(0o444)
    result = segaware("refine", image, tmp_path / "scores.npy", "--out", tmp_path / "out.npy", *COLOR)
    assert result.exit_code == 0, result.stderr
    after = np.load(tmp_path / "out.npy")
    assert after.dtype == scores.dtype.newbyteorder("=")
    np.testing.assert_allclose(after, expected(scores.astype(np.float32)), atol=2e-3 if after.itemsize == 2 else 1e-6)


def test_what_a_file_holds_and_an_option_that_does_not_fit(
    fails: Callable[..., str], tmp_path: Path, image: Path
) -> None:
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "colors.png")
    palette_image(LABEL, 5).save(tmp_path / "palette.png")
    Image.fromarray(LABEL).save(tmp_path / "jpeg.jpg")
    (tmp_path / "jpeg.jpg").rename(tmp_path / "jpeg.png")
    np.save(tmp_path / "depth.npy", np.ones(SIZE, np.float32))
    np.save(tmp_path / "empty.npy", np.ones((0, *SIZE), np.float32))
    np.savez(tmp_path / "npz.npz", np.ones(3))
    (tmp_path / "npz.npz").rename(tmp_path / "npz.npy")

    def message(scores: str, *options: str, out: str = "out.npy") -> str:
        return fails("refine", image, tmp_path / scores, "--out", tmp_path / out, *options, *COLOR)

    assert "one 8-bit channel" in message("colors.png")
    assert "values must be gray, got the indices of a palette" in message("palette.png", "--kind", "values")
    assert "not a PNG file" in message("jpeg.png")
    assert "--unknown is for values" in message("palette.png", "--unknown", "0")
    assert "or values as another .png did, got 1 channels of values" in message(
        "depth.npy", "--kind", "values", out="out.png"
    )
    assert "holds no numbers" in message("empty.npy")
    assert "cannot be read as a .npy file" in message("npz.npy")


@pytest.mark.parametrize("suffix", [".png", ".npy", ".npz"])
def test_masks_of_0_and_255_are_refused(fails: Callable[..., str], tmp_path: Path, image: Path, suffix: str) -> None:
    mask, path = LABEL * 255, tmp_path / f"mask{suffix}"
    if suffix == ".png":
        Image.fromarray(mask).save(path)
    else:
        {".npy": np.save, ".npz": np.savez}[suffix](path, mask)
    assert "0 for ground and 1" in fails("refine", image, path, "--out", tmp_path / "out.png", *COLOR)


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "shape", ["(-3, 12, 17)", "(-1, -1, 3)", "(3, 10**12, 17)", f"({10**30}, 2, 2)", "(3, 12", "'abc'", "(True, 1)"]
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_headers_beyond_sense(fails: Callable[..., str], tmp_path: Path, image: Path, shape: str, suffix: str) -> None:
    path = tmp_path / f"scores{suffix}"
    content = npy_header(shape) + np.ones((3, *SIZE), np.float32).tobytes()
    if suffix == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", content)
    else:
        path.write_bytes(content)
    assert str(path) in fails("refine", image, path, "--out", tmp_path / "out.npy", *COLOR)


def test_what_does_not_fit_in_memory_is_refused_before_it_is_read(
    fails: Callable[..., str], tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.zeros((2, 300, 400), np.float32)
    np.savez_compressed(tmp_path / "a.npz", large)
    save_file({"a": torch.from_numpy(large)}, tmp_path / "a.safetensors")
    save_file({"a": torch.from_numpy(large).bfloat16()}, tmp_path / "b.safetensors")
    write_flo(tmp_path / "a.flo", large.transpose(1, 2, 0))
    write_pfm(tmp_path / "a.pfm", large[0])
    Image.fromarray(large[0].astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(large[0].astype(np.uint16)).save(tmp_path / "b.png")
    write_kitti_flow(tmp_path / "c.png", large.transpose(1, 2, 0))
    np.save(tmp_path / "a.npy", large[0].astype(np.uint16))
    monkeypatch.setattr(score_files, "process_memory", lambda field: 4e3 - 0.4)  # of 4 GB
    for reader in ("read_flo", "read_pfm", "to_numpy"):
        monkeypatch.setattr(score_files, reader, lambda *_: pytest.fail("was read"))
    monkeypatch.setattr(score_files.npy, "read_array", lambda *_, **__: pytest.fail("was read"))
    for name in ("a.npz", "a.safetensors", "b.safetensors", "a.flo", "a.pfm", "a.png", "b.png", "c.png", "a.npy"):
        options = ("--kind", "values") if name == "a.npy" else ()
        line = fails("refine", image, tmp_path / name, "--out", tmp_path / "out.npy", *COLOR, *options)
        assert "max_memory is too small: reading" in line and name in line


def test_a_folder_keeps_names_and_suffixes_and_lists_what_failed(segaware: Any, tmp_path: Path, image: Path) -> None:
    images, scores, out = (tmp_path / name for name in ("images", "scores", "out"))
    images.mkdir(), scores.mkdir()
    for name in ("a.PNG", "b.png", "c.png", "d.png", "e.png"):
        (images / name).write_bytes(image.read_bytes())
    Image.fromarray(LABEL).save(scores / "a.PNG")
    (scores / "b.npy").write_bytes(npy_header("(3, 12 17")[:-1])  # a header that ends in the middle of a line
    (scores / "c.npy").write_bytes(npy_header("(-3, 12, 17)"))
    np.save(scores / "d.npy", np.array(["text"]))
    np.save(scores / "e.npy", np.zeros((3, *SIZE), np.float32))
    result = segaware("refine", images, scores, "--out", out, *COLOR)
    assert result.exit_code == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.PNG", "e.npy", "failed.csv"]
    failed = [line.split(":")[1].strip() for line in result.stderr.splitlines() if line.startswith("segaware:")]
    assert failed == ["b.png", "c.png", "d.png"]
    assert result.stderr.endswith("3 of 5 images have no new output: b.png, c.png, d.png\n")


def test_an_error_of_any_kind_does_not_end_a_folder(
    segaware: Any, tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, scores, out = (tmp_path / name for name in ("images", "scores", "out"))
    images.mkdir(), scores.mkdir()
    for name in ("a", "b"):
        (images / f"{name}.png").write_bytes(image.read_bytes())
        np.save(scores / f"{name}.npy", np.zeros((3, *SIZE), np.float32))
    read = score_files._open

    def out_of_memory(path: Path, array: Any) -> Any:
        if path.stem == "a":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(path, array)

    monkeypatch.setattr(score_files, "_open", out_of_memory)
    result = segaware("refine", images, scores, "--out", out, *COLOR)
    assert result.exit_code == 1 and "CUDA out of memory" in result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["b.npy", "failed.csv"]


@pytest.mark.parametrize("bits", [8, 16])
def test_more_pixels_than_pillows_limit_are_an_option(
    segaware: Any, fails: Callable[..., str], tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    Image.fromarray(LABEL.astype(f"u{bits // 8}")).save(tmp_path / "labels.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # less than half of the image: what Pillow calls an attack
    run = ("refine", image, tmp_path / "labels.png", "--out", tmp_path / "out.png", "--kind", "labels", *COLOR)
    assert "max_pixels allows it" in fails(*run)
    assert "max_pixels allows it" in fails(*run, "--max-pixels", str(LABEL.size - 1))
    assert segaware(*run, "--max-pixels", str(LABEL.size)).exit_code == 0
    assert Image.MAX_IMAGE_PIXELS == 50


def test_a_photograph_that_does_not_fit_in_memory_is_refused_before_it_is_decoded(
    fails: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "bomb.png").write_bytes(png_file(LABEL, 8, size=(20000, 30000)))
    np.save(tmp_path / "scores.npy", np.zeros((3, 20, 30), np.float32))
    run = ("refine", tmp_path / "bomb.png", tmp_path / "scores.npy", "--out", tmp_path / "out.npy", *COLOR)
    line = fails(*run, "--max-pixels", "1000000000")
    assert "max_memory is too small: reading" in line and "bomb.png needs about 1" in line
