"""PNG files of labels, depth or flow, written with the mode and the palette that they were read with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from segaware.atomic import replaced
from segaware.data import DataError, read_label
from segaware.data.flow.files import read_kitti_flow
from segaware.data.images import check_pixels, pixel_limit, png_header
from segaware.refining import Kind

FLOW = "flow"  # KITTI's 16-bit RGB, which Pillow has no mode for
GRAY_MODES: dict[str | None, type] = {"1": bool, "L": np.uint8, "I;16": np.uint16}

_GRAY, _RGB = 0, 2  # types of colour
_FLOW_BYTES, _GRAY_BYTES = 32, 8  # that reading takes a pixel, at most


def read_png(
    path: Path, kind: Kind | None, max_pixels: int | None, check: Callable[[int], None]
) -> tuple[np.ndarray, str, np.ndarray | None]:
    """Read a PNG of labels, of a mask, of values, or of KITTI's flow.

    Args:
        path: The file.
        kind: What it holds; None for labels unless its pixels have 16 bits.
        max_pixels: The most pixels that it may have; None for Pillow's limit.
        check: Is called with the bytes that reading will take, of what the header says, before any pixel is read.

    Returns:
        Integers (h, w), or float32 (2, h, w) of flow, NaN where unknown; its mode, Pillow's or `FLOW`; and its palette,
        uint8 (n, 3), or None.

    Raises:
        DataError: If the file is no PNG, too large, or one of colours.
    """
    with path.open("rb") as file:
        header = png_header(file.read(26))
    if header is None:
        raise DataError(f"{path}: not a PNG file, or cut off")
    width, height, bits, color = header
    check_pixels(path, width, height, Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels)
    check(width * height * (_FLOW_BYTES if color == _RGB else _GRAY_BYTES))
    if (bits, color) == (16, _RGB):
        flow, valid = read_kitti_flow(path)
        return np.where(valid[..., None], flow, np.float32(np.nan)).transpose(2, 0, 1), FLOW, None
    with pixel_limit(None), Image.open(path) as image:
        if color == _GRAY and (bits != 8 or kind in ("values", "masks")):
            pixels = np.array(image)
            if bits == 16:  # some versions of Pillow give 32 bits
                return pixels.astype(np.uint16), "I;16", None
            if bits == 1:
                return pixels.astype(np.uint8), "1", None
            return pixels // (255 // (2**bits - 1)), "L", None  # Pillow spreads fewer bits over 0..255
        palette = image.getpalette()
        if palette is not None and kind in ("values", "masks"):
            raise DataError(f"{path}: {kind} must be gray, got the indices of a palette")
    label = read_label(path, 255, max_pixels)
    if palette is None:
        return label, "L", None
    colors = np.array(palette, np.uint8).reshape(-1, 3)
    # An index without a colour would be cut off when it is written, in as many bits as the palette needs.
    return label, "P", np.pad(colors, [(0, max(int(label.max()) + 1 - len(colors), 0)), (0, 0)])


def write_gray_png(path: Path, array: np.ndarray, mode: str | None) -> None:
    """Write whole numbers (H, W) as a PNG of one of `GRAY_MODES`, whole or not at all."""
    with replaced(path) as temporary:
        Image.fromarray(array.astype(GRAY_MODES[mode])).save(temporary, format="PNG")
