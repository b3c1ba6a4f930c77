"""Files of what `segaware refine` sharpens: scores, labels, depth and flow."""

from __future__ import annotations

import functools
import json
import math
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from PIL import Image
from safetensors import safe_open

from segaware.constants import UNKNOWN_FLOW
from segaware.data import DataError, reading, voc_palette, write_png
from segaware.data.flow.files import known_flow, read_flo, read_pfm, write_flo, write_kitti_flow, write_pfm
from segaware.data.images import pixel_limit
from segaware.process_memory import process_memory
from segaware.refining import Kind
from segaware.refining.score_pngs import FLOW, GRAY_MODES, read_png, write_gray_png
from segaware.refining.settings import Settings, to_numpy

READ_SUFFIXES = (".npy", ".npz", ".safetensors", ".png", ".flo", ".pfm")
WRITTEN_SUFFIXES = (".npy", ".png", ".flo", ".pfm")
_PHOTOGRAPH_BYTES = 16  # that decoding takes a pixel, at most


@dataclass(frozen=True)
class FileSettings:
    """How files are refined.

    Attributes:
        settings: How images are; `kind` is not used.
        kind: What files hold; None for what they seem to.
        key: The array of a .npz or .safetensors file.
        embedding: An `EmbeddingName`, or the name of a .safetensors file of an embedding network.
        max_memory: The most memory in bytes.
        overwrite: Whether an output that is there is replaced.
        unknown: The value of pixels whose value is not known, beside NaN; None for no other.
        max_pixels: The most pixels that an image may have; None for Pillow's limit.
        device: Where networks and layers compute.
    """

    settings: Settings
    kind: Kind | None
    key: str | None
    embedding: str
    max_memory: int
    overwrite: bool
    unknown: float | None = None
    max_pixels: int | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Scores:
    """The array in a file, and the metadata for writing one of the same format.

    Attributes:
        open: Opens scores or values (C, h, w), or (h, w) of labels or of one channel. Unknown values are NaN.
        kind: What it is.
        dtype: Of the numbers in the file, in the machine's byte order.
        mode: Of a PNG, Pillow's name of its pixels or `FLOW`; None for another file.
        palette: Of a PNG with a palette, uint8 (n, 3).
    """

    open: Callable[[], np.ndarray]
    kind: Kind
    dtype: np.dtype
    mode: str | None = None
    palette: np.ndarray | None = None


def open_scores(path: Path, how: FileSettings) -> Scores:
    """Open a file. A .npy file is memory-mapped each time; others are read now, once they are known to fit in memory.

    Args:
        path: A file with one of `READ_SUFFIXES`.
        how: Its `kind`, `key`, `unknown`, `max_memory` and `max_pixels` are used.

    Raises:
        DataError: If the file is missing, damaged, of another kind, or has no such array.
        MemoryError: If it does not fit in `max_memory`.
    """
    suffix = path.suffix.lower()
    if suffix not in READ_SUFFIXES:
        raise DataError(f"{path}: scores must be a file of {', '.join(READ_SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    array, mode, palette = None, None, None
    with reading(path, f"a {suffix} file"):
        if suffix == ".png":
            array, mode, palette = read_png(path, how.kind, how.max_pixels, lambda size: check_fits(path, size, how))
        elif suffix != ".npy":
            array = _READERS[suffix](path, how)
        first = _open(path, array)
    if not first.size:
        raise DataError(f"{path}: holds no numbers, but an array of shape {first.shape}")
    dtype = first.dtype.newbyteorder("=")
    kind = how.kind or _guess_kind(path, first, mode)
    if how.unknown is not None and kind != "values":
        raise ValueError(f"--unknown is for values, such as depth, got it with {path} of {kind}")
    if kind == "values" and (dtype.kind in "iu" or how.unknown is not None):
        array = _to_values(path, first, how)
    return Scores(functools.partial(_open, path, array), kind, dtype, mode, palette)


def _open(path: Path, array: np.ndarray | None) -> np.ndarray:
    """Return what was read, or a .npy file, memory-mapped: not by `np.load`, which takes other files for such, too."""
    return npy.open_memmap(path, "r") if array is None else array


def check_fits(path: Path, size: float, how: FileSettings) -> None:
    """Raise MemoryError if reading a file, which takes `size` bytes, takes more than `how.max_memory`."""
    with suppress(OSError):  # only Linux tells
        size += process_memory("VmRSS") * 1e6
    if size > how.max_memory:
        raise MemoryError(
            f"max_memory is too small: reading {path} needs about {size / 1e9:.2g} GB with all that is loaded, "
            f"got {how.max_memory / 1e9:.2g} GB"
        )


def check_photograph(path: Path, how: FileSettings) -> None:
    """Raise MemoryError if decoding a photograph takes more than `how.max_memory`, by the size that its header says."""
    with reading(path, "an image"), pixel_limit(None), Image.open(path) as image:
        width, height = image.size
    check_fits(path, width * height * _PHOTOGRAPH_BYTES, how)


def _guess_kind(path: Path, array: np.ndarray, mode: str | None) -> Kind:
    """Return what a file probably holds: .flo, .pfm and PNGs of 16 bits values, integers labels, all else scores."""
    if path.suffix.lower() in (".flo", ".pfm") or mode in ("I;16", FLOW):
        return "values"
    return "labels" if array.dtype.kind in "iu" else "scores"


def _to_values(path: Path, array: np.ndarray, how: FileSettings) -> np.ndarray:
    """Return values as floats, with NaN for those that are not known."""
    check_fits(path, 2 * array.size * max(array.itemsize, 4), how)
    values = np.array(array, np.float32 if array.dtype.kind in "iu" else array.dtype.newbyteorder("="))
    if how.unknown is not None:
        unknown = values == values.dtype.type(how.unknown)
        values[..., unknown.all(0) if values.ndim == 3 else unknown] = np.nan
    return values


def _read_flo(path: Path, how: FileSettings) -> np.ndarray:
    check_fits(path, 3 * path.stat().st_size, how)
    flow = read_flo(path)
    return np.where(known_flow(flow)[..., None], flow, np.nan).transpose(2, 0, 1)


def _read_pfm(path: Path, how: FileSettings) -> np.ndarray:
    check_fits(path, 3 * path.stat().st_size, how)
    values = read_pfm(path)
    values = np.where(np.isfinite(values), values, np.nan)
    return values if values.ndim == 2 else values.transpose(2, 0, 1)


def _read_npz(path: Path, how: FileSettings) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        member = archive.getinfo(_choose(path, names, how.key) + ".npy")
        check_fits(path, member.file_size, how)
        with archive.open(member) as file:  # its header first: NumPy makes an array of any size that it says
            version = npy.read_magic(file)
            shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise DataError(f"{path}: its header says {dtype} of shape {shape}, which the file does not hold")
        with archive.open(member) as file:
            return npy.read_array(file, allow_pickle=False)


def _read_safetensors(path: Path, how: FileSettings) -> np.ndarray:
    with safe_open(path, "pt") as tensors:
        name = _choose(path, list(tensors.keys()), how.key)
        with path.open("rb") as file:
            entry = json.loads(file.read(int.from_bytes(file.read(8), "little")))[name]
        start, stop = entry["data_offsets"]
        check_fits(path, (stop - start) * (3 if entry["dtype"] == "BF16" else 1), how)  # which NumPy has not
        return to_numpy("scores", tensors.get_tensor(name))


_READERS = {".flo": _read_flo, ".pfm": _read_pfm, ".npz": _read_npz, ".safetensors": _read_safetensors}


def _choose(path: Path, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        if not names:
            raise DataError(f"{path}: holds no arrays")
        wanted = "give the name of one by --key" if key is None else f"none is named {key!r}"
        raise DataError(f"{path}: holds arrays {', '.join(names)}; {wanted}")
    return key


def check_output(path: Path, scores: Scores, channels: int) -> None:
    """Check that results can be written into a file of this name.

    Raises:
        DataError: If not.
    """
    suffix, kind = path.suffix.lower(), scores.kind
    if suffix not in WRITTEN_SUFFIXES:
        raise DataError(f"{path}: the output must be a file of {', '.join(WRITTEN_SUFFIXES)}")
    if suffix == ".png" and (scores.mode is None if kind in ("values", "masks") else channels > 255):
        raise DataError(
            f"{path}: a .png holds labels of up to 255 classes, or a mask or values as another .png did, "
            f"got {channels} channels of {kind}"
        )
    wanted = {".flo": (2,), ".pfm": (1, 3)}.get(suffix)
    if wanted is not None and (kind != "values" or channels not in wanted):
        numbers = " or ".join(map(str, wanted))
        raise DataError(f"{path}: a {suffix} holds {numbers} channels of values, got {channels} of {kind}")


def output_dtype(path: Path, scores: Scores) -> np.dtype:
    """Return the type of the numbers in an output of this name: that of `scores`, or what its format has."""
    if path.suffix.lower() == ".png" and scores.kind in ("scores", "probabilities"):
        return np.dtype(np.uint8)  # classes
    if scores.kind == "values" and (path.suffix.lower() != ".npy" or scores.mode is not None):
        return np.dtype(np.float32)
    return scores.dtype


def write_output(path: Path, array: np.ndarray, scores: Scores, unknown: float | None) -> None:
    """Write the refined array in the format of its scores.

    A PNG is written as `scores` were: its mode and palette. Labels that come from elsewhere, and classes of scores,
    have VOC's colours.

    Args:
        path: A file that `check_output` takes.
        array: Labels (H, W), or values (C, H, W) or (H, W) with NaN where not known.
        scores: The file that `array` was made from.
        unknown: What to write in place of NaN; None for what the format has, 1666666752 in .flo.
    """
    suffix = path.suffix.lower()
    if suffix == ".png" and scores.kind != "values":
        if scores.mode in GRAY_MODES:
            write_gray_png(path, array, scores.mode)
        else:
            write_png(path, array.astype(np.uint8), voc_palette() if scores.palette is None else scores.palette)
        return
    unknown = UNKNOWN_FLOW if unknown is None and suffix == ".flo" else unknown
    if unknown is not None and scores.mode != FLOW:
        array = np.where(np.isnan(array), unknown, array.astype(np.float64))
    if suffix == ".png" and scores.mode in GRAY_MODES:
        write_gray_png(path, np.rint(array), scores.mode)
        return
    dtype = output_dtype(path, scores)
    array = (np.rint(array) if dtype.kind in "iu" else array).astype(dtype)
    if suffix == ".npy":
        with path.open("wb") as file:  # by its name, NumPy would add .npy to .NPY
            np.save(file, array)
        return
    if array.ndim == 3:
        array = array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0))
    {".flo": write_flo, ".pfm": write_pfm, ".png": write_kitti_flow}[suffix](path, array)
