"""Reads and writes the file formats of optical flow: Middlebury's .flo, PFM, and KITTI's 16-bit PNG."""

import math
import os
import struct
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
from PIL import Image

from segaware.atomic import write_atomically
from segaware.constants import UNKNOWN_FLOW_THRESHOLD
from segaware.data.images import check_pixels, png_header
from segaware.data.reading import DataError, reading
from segaware.extras import import_extra

KITTI_RANGE = (-512, 511.984375)  # pixels; 16 bits in steps of 1/64

_FLO_MAGIC = b"PIEH"  # The float32 202021.25, little endian.


def known_flow(flow: np.ndarray) -> np.ndarray:
    """Tell where a flow is known: where both of its numbers are at most 1e9 in size, so neither infinite nor NaN.

    Args:
        flow: floats (H, W, 2).

    Returns:
        bool (H, W).

    Example:
        >>> known_flow(np.array([[[3, -4], [1666666752, 0], [0, np.nan]]], np.float32))
        array([[ True, False, False]])
    """
    return (np.abs(flow) <= np.float64(UNKNOWN_FLOW_THRESHOLD)).all(axis=-1)


def read_flo(path: str | Path) -> np.ndarray:
    """Read a .flo file: b"PIEH", width and height as int32, then u and v of each pixel as float32, all little endian.

    Args:
        path: The file.

    Returns:
        float32 (H, W, 2), the numbers of the file as they are; see `known_flow` for those that mean "unknown".

    Raises:
        DataError: The file is missing, of another format, or shorter or longer than its header says.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_flo(f"{folder}/a.flo", np.ones((2, 3, 2), np.float32))
        ...     read_flo(f"{folder}/a.flo").shape
        (2, 3, 2)
    """
    with reading(path, "a .flo file"), open(path, "rb") as file:
        header = file.read(12)
        if header[:4] != _FLO_MAGIC:
            raise DataError(f"{path}: a .flo file starts with {_FLO_MAGIC!r} (202021.25), found {header[:4]!r}")
        if len(header) < 12:
            raise DataError(f"{path}: ends after {len(header)} bytes, inside its header")
        width, height = struct.unpack("<ii", header[4:])
        return _read_floats(file, path, (height, width, 2), "<f4")


def write_flo(path: str | Path, flow: np.ndarray) -> None:
    """Write a .flo file, under a temporary name that is then moved into place.

    Args:
        path: Where to write; an existing file is replaced.
        flow: float32 (H, W, 2).

    Raises:
        ValueError: `flow` has another shape or type.
    """
    _check_flow(flow)
    height, width, _ = flow.shape
    write_atomically(Path(path), _FLO_MAGIC + struct.pack("<ii", width, height) + flow.astype("<f4").tobytes())


def read_pfm(path: str | Path) -> np.ndarray:
    """Read a PFM file: lines "PF" (3 channels) or "Pf" (1), "WIDTH HEIGHT" and a scale, then float32 rows, last first.

    The scale's sign tells the byte order, negative for little endian; its size is not used.

    Args:
        path: The file.

    Returns:
        float32 (H, W, 3), or (H, W) of one channel, first row first.

    Raises:
        DataError: The file is missing, of another format, or shorter or longer than its header says.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_pfm(f"{folder}/a.pfm", np.array([[1, 2], [3, 4]], np.float32))
        ...     read_pfm(f"{folder}/a.pfm")
        array([[1., 2.], [3., 4.]], dtype=float32)
    """
    with reading(path, "a PFM file"), open(path, "rb") as file:
        magic, size, scale = (file.readline(80) for _ in range(3))
        if magic.strip() not in (b"PF", b"Pf"):
            raise DataError(f"{path}: a PFM file starts with b'PF' or b'Pf', found {magic[:8]!r}")
        try:
            width, height = map(int, size.split())
            factor = float(scale)
        except ValueError:
            factor = math.nan
        if not 0 < abs(factor) < math.inf:
            raise DataError(
                f"{path}: b'WIDTH HEIGHT' and a scale other than 0 must follow {magic!r}, found {size!r} and {scale!r}"
            )
        shape = (height, width, 3) if magic.strip() == b"PF" else (height, width)
        rows = _read_floats(file, path, shape, "<f4" if factor < 0 else ">f4")
    return np.ascontiguousarray(rows[::-1])


def write_pfm(path: str | Path, array: np.ndarray) -> None:
    """Write a little-endian PFM file, under a temporary name that is then moved into place.

    Args:
        path: Where to write; an existing file is replaced.
        array: float32 (H, W) or (H, W, 3), first row first.

    Raises:
        ValueError: `array` has another shape or type.
    """
    channels = array.shape[2:]
    if not _is_float32(array) or array.ndim not in (2, 3) or channels not in ((), (3,)) or not array.size:
        raise ValueError(f"array must be float32 (H, W) or (H, W, 3) and not empty, got {array.dtype} {array.shape}")
    height, width = array.shape[:2]
    header = f"{'PF' if channels else 'Pf'}\n{width} {height}\n-1.0\n"
    write_atomically(Path(path), header.encode() + array[::-1].astype("<f4").tobytes())


def read_kitti_flow(path: str | Path, max_pixels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read KITTI's flow: a 16-bit RGB PNG with u = (R - 2^15) / 64, v = (G - 2^15) / 64, known where B is not 0.

    Args:
        path: The file.
        max_pixels: As in `segaware.data.read_image`.

    Returns:
        flow: float32 (H, W, 2), 0 where not known.
        valid: bool (H, W), where the flow is known.

    Raises:
        DataError: The file is missing, broken, too large, or a PNG of another kind.
        ModuleNotFoundError: OpenCV is not installed, which reads 16-bit colours (Pillow does not).

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_kitti_flow(f"{folder}/a.png", np.array([[[1.5, -2], [np.nan, 0]]], np.float32))
        ...     flow, valid = read_kitti_flow(f"{folder}/a.png")
        >>> flow.tolist(), valid.tolist()
        ([[[1.5, -2.0], [0.0, 0.0]]], [[True, False]])
    """
    cv2 = _opencv()
    with reading(path, "a PNG file"):
        content = Path(path).read_bytes()
    header = png_header(content)
    if header is None:
        raise DataError(f"{path}: KITTI's flow is a PNG file, found one that starts with {content[:8]!r}")
    width, height, depth, color_type = header
    if (depth, color_type) != (16, 2):
        raise DataError(
            f"{path}: KITTI's flow is a PNG of 16 bits and colour type 2 (RGB), "
            f"found {depth} bits and colour type {color_type}"
        )
    check_pixels(path, width, height, Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels)
    with reading(path, "a PNG file", "cannot be decoded"):
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise ValueError("the file is broken or cut short")
    valid = pixels[..., 0] > 0  # OpenCV's order is BGR.
    flow = (pixels[..., :0:-1].astype(np.float32) - 2**15) / 64
    return np.where(valid[..., None], flow, np.float32(0)), valid


def write_kitti_flow(path: str | Path, flow: np.ndarray, valid: np.ndarray | None = None) -> None:
    """Write KITTI's 16-bit RGB PNG, in steps of 1/64 pixel, under a temporary name that is then moved into place.

    Args:
        path: Where to write; an existing file is replaced.
        flow: float32 (H, W, 2); known numbers in -512..511.984375.
        valid: bool (H, W), where the flow is known; `known_flow(flow)` if not given.

    Raises:
        ValueError: An argument has another shape or type, or a known number is out of range.
        ModuleNotFoundError: OpenCV is not installed.
    """
    _check_flow(flow)
    valid = known_flow(flow) if valid is None else valid
    if valid.dtype != bool or valid.shape != flow.shape[:2]:
        raise ValueError(f"valid must be bool {flow.shape[:2]} as the flow, got {valid.dtype} {valid.shape}")
    steps = np.rint(flow[valid].astype(np.float64) * 64) + 2**15
    wrong = ~((steps >= 0) & (steps < 2**16))  # True for NaN too
    if wrong.any():
        raise ValueError(f"flow must be in -512..511.984375 where valid, KITTI's range, got {flow[valid][wrong][0]}")
    pixels = np.zeros((*valid.shape, 3), np.uint16)
    pixels[valid, 0] = 1  # OpenCV's order is BGR.
    pixels[valid, 2:0:-1] = steps
    write_atomically(Path(path), _opencv().imencode(".png", pixels)[1].tobytes())


def _opencv() -> ModuleType:
    return import_extra("cv2", "KITTI's 16-bit PNG files need OpenCV", "flow")


def _read_floats(file: BinaryIO, path: str | Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Read the rest of a file as float32 of this shape (H, W, ...), once that is known to be what the file holds."""
    height, width = shape[:2]
    found = os.fstat(file.fileno()).st_size - file.tell()
    wanted = math.prod(shape) * 4
    if height < 1 or width < 1 or found != wanted:
        raise DataError(
            f"{path}: its header says {width}x{height} pixels (width x height), which take {wanted} bytes, "
            f"but {found} bytes follow the header"
        )
    return np.frombuffer(file.read(), dtype).reshape(shape).astype(np.float32)


def _is_float32(array: np.ndarray) -> bool:
    """Tell whether numbers are of 32 bits, in any byte order."""
    return array.dtype.newbyteorder("=") == np.float32


def _check_flow(flow: np.ndarray) -> None:
    if not _is_float32(flow) or flow.ndim != 3 or flow.shape[2] != 2 or not flow.size:
        raise ValueError(f"flow must be float32 (H, W, 2) and not empty, got {flow.dtype} {flow.shape}")
