import os
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from segaware.data import DataError
from segaware.data.flow.files import (
    known_flow,
    read_flo,
    read_kitti_flow,
    read_pfm,
    write_flo,
    write_kitti_flow,
    write_pfm,
)

cv2 = pytest.importorskip("cv2", reason="KITTI's files need the extra segaware[flow]")

FLOW = np.random.default_rng(0).normal(0, 20, (3, 5, 2)).astype(np.float32)


def random_bits(*shape):
    """Floats of every kind: subnormal, infinite, NaN."""
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 1666666752], np.float32)
    bits = np.random.default_rng(1).integers(0, 2**32, shape, dtype=np.uint32)
    bits.ravel()[: len(special)] = special.view(np.uint32)
    return bits.view(np.float32)


def test_known_flow():
    flow = np.zeros((3, 4, 2), np.float32)
    flow[0, 1, 0], flow[1, 0, 1], flow[1, 3, 0], flow[2, 2, 1] = np.nan, -np.inf, 1666666752, -1.1e9
    flow[2, 0] = 1e9
    expected = np.ones((3, 4), bool)
    expected[[0, 1, 1, 2], [1, 0, 3, 2]] = False
    np.testing.assert_array_equal(known_flow(flow), expected)


def test_flo_is_what_opencv_reads_and_writes(tmp_path):
    write_flo(tmp_path / "ours.flo", FLOW)
    np.testing.assert_array_equal(cv2.readOpticalFlow(str(tmp_path / "ours.flo")), FLOW)
    assert cv2.writeOpticalFlow(str(tmp_path / "theirs.flo"), FLOW)
    np.testing.assert_array_equal(read_flo(tmp_path / "theirs.flo"), FLOW)
    assert (tmp_path / "ours.flo").read_bytes() == struct.pack("<fii", 202021.25, 5, 3) + FLOW.tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 4)])
def test_flo_keeps_every_bit(tmp_path, shape):
    flow = random_bits(*shape, 8)[..., :2].copy()
    write_flo(tmp_path / "a.flo", flow)
    result = read_flo(tmp_path / "a.flo")
    assert result.dtype == np.float32 and result.flags.writeable
    np.testing.assert_array_equal(result.view(np.uint32), flow.view(np.uint32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"starts with b'PIEH' \(202021\.25\), found b''"),
        (b"PIEI" + bytes(8), r"starts with b'PIEH' .*, found b'PIEI'"),
        (struct.pack(">fii", 202021.25, 1, 1) + bytes(8), r"found b'HEIP'"),
        (b"PIEH" + bytes(7), "ends after 11 bytes, inside its header"),
        (struct.pack("<fii", 202021.25, 5, 3) + bytes(119), "5x3 pixels .* take 120 bytes, but 119 bytes follow"),
        (struct.pack("<fii", 202021.25, 5, 3) + bytes(121), "5x3 pixels .* take 120 bytes, but 121 bytes follow"),
        (struct.pack("<fii", 202021.25, 0, 3), "header says 0x3"),
        (struct.pack("<fii", 202021.25, -5, -3) + bytes(120), "header says -5x-3"),
        (struct.pack("<fii", 202021.25, 2**31 - 1, 2**31 - 1) + bytes(8), "header says 2147483647x2147483647"),
    ],
)
def test_broken_flo_is_one_clear_error(tmp_path, content, message):
    (tmp_path / "a.flo").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.flo: .*{message}"):
        read_flo(tmp_path / "a.flo")


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
def test_pfm_is_what_opencv_reads_and_writes(tmp_path, shape):
    array = np.random.default_rng(0).normal(0, 20, shape).astype(np.float32)
    bgr = np.ascontiguousarray(array[..., ::-1]) if array.ndim == 3 else array
    write_pfm(tmp_path / "ours.pfm", array)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "ours.pfm"), cv2.IMREAD_UNCHANGED), bgr)
    assert cv2.imwrite(str(tmp_path / "theirs.pfm"), bgr)
    np.testing.assert_array_equal(read_pfm(tmp_path / "theirs.pfm"), array)


@pytest.mark.parametrize("order", ["<", ">"])
def test_pfm_in_either_byte_order_has_its_last_row_first(tmp_path, order):
    rows = np.arange(18, dtype=f"{order}f4").reshape(2, 3, 3)
    header = b"PF\n3 2\n" + (b"-1.0\n" if order == "<" else b"1\n")
    (tmp_path / "a.pfm").write_bytes(header + rows[::-1].tobytes())
    result = read_pfm(tmp_path / "a.pfm")
    assert result.dtype == np.float32 and result.flags.c_contiguous
    np.testing.assert_array_equal(result, rows)


@pytest.mark.parametrize("shape", [(1, 8), (4, 2, 3)])
def test_pfm_keeps_every_bit(tmp_path, shape):
    array = random_bits(*shape)
    write_pfm(tmp_path / "a.pfm", array)
    np.testing.assert_array_equal(read_pfm(tmp_path / "a.pfm").view(np.uint32), array.view(np.uint32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with b'PF' or b'Pf', found b''"),
        (b"P6\n1 1\n255\n123", "starts with b'PF' or b'Pf', found b'P6"),
        (b"PF\n1\n-1\n" + bytes(12), "must follow"),
        (b"PF\n1 x\n-1\n" + bytes(12), "must follow"),
        (b"Pf\n1 1\n0\n" + bytes(4), "other than 0"),
        (b"Pf\n1 1\nnan\n" + bytes(4), "other than 0"),
        (b"Pf\n1 1\n" + bytes(4), "other than 0"),
        (b"PF\n1 1\n-1\n" + bytes(11), "1x1 pixels .* take 12 bytes, but 11 bytes follow"),
        (b"Pf\n1 1\n-1\n" + bytes(12), "1x1 pixels .* take 4 bytes, but 12 bytes follow"),
        (b"Pf\n-2 -2\n-1\n" + bytes(16), "header says -2x-2"),
        (b"PF\n99999999999 99999999999\n-1\n" + bytes(16), "header says 99999999999x99999999999"),
    ],
)
def test_broken_pfm_is_one_clear_error(tmp_path, content, message):
    (tmp_path / "a.pfm").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.pfm: .*{message}"):
        read_pfm(tmp_path / "a.pfm")


def test_kitti_is_rgb_of_16_bits_in_steps_of_a_64th(tmp_path):
    red = np.array([[2**15 + 64, 0, 2**15]], np.uint16)
    green = np.array([[2**15, 2**16 - 1, 7]], np.uint16)
    blue = np.array([[1, 1, 0]], np.uint16)
    assert cv2.imwrite(str(tmp_path / "a.png"), np.dstack([blue, green, red]))  # OpenCV's order is BGR.
    flow, valid = read_kitti_flow(tmp_path / "a.png")
    assert flow.dtype == np.float32 and valid.dtype == bool
    assert flow.tolist() == [[[1, 0], [-512, 512 - 1 / 64], [0, 0]]]
    assert valid.tolist() == [[True, True, False]]


def test_kitti_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    flow = (rng.integers(-(2**15), 2**15, (6, 7, 2)) / 64).astype(np.float32)
    valid = rng.random((6, 7)) < 0.5
    flow[0, 0], valid[0, 0] = 1e6, False
    write_kitti_flow(tmp_path / "a.png", flow, valid)
    result, result_valid = read_kitti_flow(tmp_path / "a.png")
    np.testing.assert_array_equal(result_valid, valid)
    np.testing.assert_array_equal(result, np.where(valid[..., None], flow, 0))
    write_kitti_flow(tmp_path / "a.png", np.full((1, 1, 2), 0.4 / 64, np.float32))
    assert not read_kitti_flow(tmp_path / "a.png")[0].any()  # the nearest step


def test_kitti_marks_unknown_flow(tmp_path):
    write_kitti_flow(tmp_path / "a.png", np.array([[[1, 2], [1666666752, 0], [0, np.nan]]], np.float32))
    assert read_kitti_flow(tmp_path / "a.png")[1].tolist() == [[True, False, False]]


@pytest.mark.parametrize("value", [512, 511.999, -512.01, np.nan, np.inf])
def test_kitti_refuses_numbers_out_of_its_range(tmp_path, value):
    flow = np.zeros((2, 3, 2), np.float32)
    flow[1, 2, 1] = value
    with pytest.raises(ValueError, match=rf"-512\.\.511\.984375 .* got {str(value)[:4]}"):
        write_kitti_flow(tmp_path / "a.png", flow, np.ones((2, 3), bool))
    assert not list(tmp_path.iterdir())


def test_other_png_files_are_not_kitti_flow(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: .* 16 bits and colour type 2 .* found 8 bits and colour type 2"):
        read_kitti_flow(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((2, 2), np.uint16))
    with pytest.raises(DataError, match=r"found 16 bits and colour type 0"):
        read_kitti_flow(tmp_path / "a.png")
    write_flo(tmp_path / "a.png", FLOW)
    with pytest.raises(DataError, match=r"a\.png: .* is a PNG file, found .* b'PIEH"):
        read_kitti_flow(tmp_path / "a.png")


def test_a_broken_kitti_file_is_one_clear_error(tmp_path):
    path = tmp_path / "a.png"
    write_kitti_flow(path, FLOW)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.png: (KITTI's flow is a PNG file|cannot be decoded)"):
            read_kitti_flow(path)
    path.write_bytes(whole[:60] + bytes([whole[60] ^ 255]) + whole[61:])
    with pytest.raises(DataError, match=r"a\.png: cannot be decoded"):
        read_kitti_flow(path)


def test_kitti_without_opencv_says_what_to_install(tmp_path, monkeypatch):
    write_kitti_flow(tmp_path / "a.png", FLOW)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'segaware\[flow\]'"):
        read_kitti_flow(tmp_path / "a.png")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'segaware\[flow\]'"):
        write_kitti_flow(tmp_path / "b.png", FLOW)
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("read", [read_flo, read_pfm, read_kitti_flow])
def test_missing_file_is_named(tmp_path, read):
    with pytest.raises(DataError, match=r"gone\.flo: no such file"):
        read(tmp_path / "gone.flo")


@pytest.mark.parametrize(
    ("write", "arguments", "message"),
    [
        (write_flo, (FLOW.astype(float),), r"flow must be float32 \(H, W, 2\) .* got float64 \(3, 5, 2\)"),
        (write_flo, (FLOW[..., 0],), r"got float32 \(3, 5\)"),
        (write_flo, (FLOW[:0],), r"not empty, got float32 \(0, 5, 2\)"),
        (write_pfm, (FLOW,), r"array must be float32 \(H, W\) or \(H, W, 3\) .* got float32 \(3, 5, 2\)"),
        (write_pfm, (FLOW[0, 0],), r"got float32 \(2,\)"),
        (write_kitti_flow, (FLOW.transpose(2, 0, 1),), r"flow must be .* got float32 \(2, 3, 5\)"),
        (write_kitti_flow, (FLOW, np.ones((5, 3), bool)), r"valid must be bool \(3, 5\) .* got bool \(5, 3\)"),
        (write_kitti_flow, (FLOW, np.ones((3, 5))), r"valid must be bool .* got float64"),
    ],
)
def test_writers_refuse_other_arrays_and_keep_the_old_file(tmp_path, write, arguments, message):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "a", *arguments)
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize(("write", "array"), [(write_flo, FLOW), (write_pfm, FLOW[..., 0]), (write_kitti_flow, FLOW)])
def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, write, array):
    (tmp_path / "a").write_bytes(b"old")

    def refuse(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "a", array)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("change", [lambda x: x[::-1, ::-1], lambda x: x.astype(">f4"), np.asfortranarray])
def test_arrays_of_any_layout_are_written(tmp_path, change):
    flow = change(np.random.default_rng(0).integers(-100, 100, (4, 5, 2)).astype(np.float32))
    flow.flags.writeable = False
    write_flo(tmp_path / "a.flo", flow)
    write_pfm(tmp_path / "a.pfm", flow[..., 0])
    for array, expected in ((read_flo(tmp_path / "a.flo"), flow), (read_pfm(tmp_path / "a.pfm"), flow[..., 0])):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.float32 and array.dtype.isnative and array.flags.c_contiguous
    write_kitti_flow(tmp_path / "a.png", flow)
    np.testing.assert_array_equal(read_kitti_flow(tmp_path / "a.png")[0], flow)


def test_a_kitti_file_that_claims_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    write_kitti_flow(tmp_path / "a.png", np.zeros((2, 3, 2), np.float32))
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = struct.pack(">II", 9_500, 9_500)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: has 9500x9500 .* max_pixels"):
        read_kitti_flow(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: cannot be decoded"):
        read_kitti_flow(tmp_path / "a.png", max_pixels=10**9)
