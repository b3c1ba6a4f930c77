"""Reads an array out of a struct in a MATLAB 5 file. SciPy's reader ends the process on some damaged files.

The format is in MathWorks' "MAT-File Format": a header of 128 bytes, then elements, each with a type, a number of bytes
and these bytes. A matrix is an element whose bytes are elements again: flags, dimensions, a name, and its contents.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segaware.data.reading import DataError, reading

_MATRIX, _COMPRESSED, _STRUCT = 14, 15, 2
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # by type
_NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}  # by class
_MOST_BYTES = 2**28  # of a variable that is not compressed any more; a small file may claim anything


def read_struct_field(path: Path, variable: str, field: str) -> np.ndarray:
    """Read the numbers in `variable.field`, where `variable` is a struct of 1x1.

    Returns:
        The array, first dimension first, with the type that MATLAB gives it.

    Raises:
        DataError: The file is missing, broken, of another format, or has no such numbers.
    """
    with reading(path, "a MATLAB file", f"holds no readable struct {variable!r} with a field {field!r}"):
        content = path.read_bytes()
        order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
        if order is None:
            raise ValueError("it does not start as a MATLAB 5 file does")
        if struct.unpack(f"{order}H", content[124:126])[0] == 0x200:
            raise DataError(f"{path}: is a MATLAB 7.3 (HDF5) file, but wanted is one of MATLAB 5")
        try:
            return _numbers(_field(_variable(content[128:], order, variable), order, field), order)
        except StopIteration:
            raise ValueError("a matrix ends early") from None


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield type and bytes of each element."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start = at + 8
        if kind >> 16:  # a small element: its type and size take four bytes together, and its bytes the next four
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        at = at + 8 if start == at + 4 else start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > min(at, len(content)):
            raise ValueError("it ends inside an element")
        yield kind, content[start : start + size]


def _header(elements: Iterator[tuple[int, bytes]], order: str) -> tuple[int, tuple[int, ...], bytes]:
    """Take class, dimensions and name from the elements of a matrix."""
    (_, flags), (_, dimensions), (_, name) = next(elements), next(elements), next(elements)
    return struct.unpack(f"{order}II", flags)[0] & 0xFF, tuple(np.frombuffer(dimensions, f"{order}i4").tolist()), name


def _variable(content: bytes, order: str, wanted: str) -> bytes:
    for kind, found in _elements(content, order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(found, _MOST_BYTES)
            if not unpacker.eof:
                raise ValueError("a compressed variable is cut off or too large")
            kind, found = next(_elements(unpacked, order))
        if kind == _MATRIX and _header(_elements(found, order), order)[2] == wanted.encode():
            return found
    raise ValueError("there is no such variable")


def _field(matrix: bytes, order: str, wanted: str) -> bytes:
    elements = _elements(matrix, order)
    kind, dimensions, _ = _header(elements, order)
    if kind != _STRUCT or math.prod(dimensions) != 1:
        raise ValueError("it is no struct of 1x1")
    (_, length), (_, names) = next(elements), next(elements)
    (length_of_name,) = struct.unpack(f"{order}i", length)
    for at in range(0, len(names), length_of_name):
        _, found = next(elements)
        if names[at : at + length_of_name].split(b"\0")[0] == wanted.encode():
            return found
    raise ValueError("there is no such field")


def _numbers(matrix: bytes, order: str) -> np.ndarray:
    elements = _elements(matrix, order)
    kind, dimensions, _ = _header(elements, order)
    stored, content = next(elements)
    # MATLAB stores numbers in the smallest type that holds them all.
    array = np.frombuffer(content, order + _STORED[stored]).astype(_NUMBERS[kind])
    if min(dimensions) < 0:
        raise ValueError(f"its size is {dimensions}")
    return array.reshape(dimensions, order="F")
