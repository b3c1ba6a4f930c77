import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from segaware.data import DataError
from segaware.data.mat_files import read_struct_field

MASK = np.array([[0, 20, 20], [15, 15, 0]], np.uint8)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 3, 4), (0, 0), (13, 1)])
def test_reads_what_scipy_writes_as_scipy_does(tmp_path, compressed, dtype, shape):
    field = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    cells = np.empty((2, 1), object)
    cells[:, 0] = [np.zeros((2, 3)), "text"]
    content = {"other": MASK, "GTcls": {"Boundaries": cells, "a": field, "nested": {"a": MASK}}, "last": "text"}
    savemat(tmp_path / "a.mat", content, do_compression=compressed)
    array = read_struct_field(tmp_path / "a.mat", "GTcls", "a")
    expected = loadmat(tmp_path / "a.mat")["GTcls"]["a"].item()
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_reads_big_endian_files_and_numbers_in_smaller_types(tmp_path):
    def element(kind, content):
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    def matrix(kind, dimensions, name, *contents):
        header = element(6, struct.pack(">II", kind, 0)) + element(5, struct.pack(">2i", *dimensions))
        return element(14, header + element(1, name) + b"".join(contents))

    small = struct.pack(">HH", 4, 5) + struct.pack(">i", 4)  # one int32 in a small element: the length of names
    doubles = matrix(6, (2, 3), b"", element(4, np.arange(6, dtype=">u2").tobytes()))
    variable = matrix(2, (1, 1), b"s", small, element(1, b"a\0\0\0b\0\0\0"), matrix(9, (0, 0), b""), doubles)
    packed = zlib.compress(variable)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x100) + b"MI"
    (tmp_path / "a.mat").write_bytes(header + struct.pack(">II", 15, len(packed)) + packed)
    array = read_struct_field(tmp_path / "a.mat", "s", "b")
    assert array.dtype == np.float64 and array.tolist() == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize("compressed", [False, True])
def test_no_damage_ends_the_process(tmp_path, compressed):
    script = f"""
import sys
from pathlib import Path
import numpy as np
from scipy.io import savemat
from segaware.data import DataError
from segaware.data.sbd import _read_mask
path = Path({str(tmp_path / "n.mat")!r})
content = {{"Segmentation": np.zeros((2, 3), np.uint8), "Boundaries": np.zeros((2, 2), object)}}
savemat(path, {{"GTcls": content}}, do_compression={compressed})
whole = path.read_bytes()
refused = 0
for at in range(124, len(whole)):
    for value in (0, 1, 4, 14, 128, 255):
        damaged = bytearray(whole)
        damaged[at] = value
        path.write_bytes(damaged)
        try:
            _read_mask(path)
        except DataError:
            refused += 1
assert refused > 300, refused
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_small_file_that_claims_to_be_large_is_refused(tmp_path):
    packed = zlib.compress(bytes(2**28 + 2**20), 9)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM"
    (tmp_path / "a.mat").write_bytes(header + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(DataError, match=r"a\.mat: holds no readable struct .*cut off or too large"):
        read_struct_field(tmp_path / "a.mat", "s", "a")
