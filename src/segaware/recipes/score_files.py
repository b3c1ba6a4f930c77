"""Files of what `segaware refine` sharpens: scores, labels, depth and flow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open

from segaware.data import DataError, read_label, voc_palette, write_png
from segaware.data.flow.files import known_flow, read_flo, read_pfm, write_flo, write_pfm
from segaware.refining import Kind
from segaware.refining.settings import to_numpy

READ_SUFFIXES = (".npy", ".npz", ".safetensors", ".png", ".flo", ".pfm")
WRITTEN_SUFFIXES = (".npy", ".png", ".flo", ".pfm")
_UNKNOWN_FLOW = 1666666752.0  # Middlebury's


def open_scores(path: Path, key: str | None = None) -> Callable[[], np.ndarray]:
    """Return what opens a file: scores or values (C, h, w), or (h, w) of labels or of one channel.

    A .npy file is memory-mapped each time; others are read now. Unknown flow (.flo), or disparity (.pfm), becomes NaN.

    Args:
        path: A file with one of `READ_SUFFIXES`.
        key: The name of the array in a .npz or .safetensors file; it may be left out if there is only one.

    Raises:
        DataError: If the file is missing, damaged, of another kind, or has no such array.
    """
    suffix = path.suffix.lower()
    if suffix not in READ_SUFFIXES:
        raise DataError(f"{path}: scores must be a file of {', '.join(READ_SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if suffix == ".npy":
        _load(path)
        return lambda: _load(path)
    array = _read(path, suffix, key)
    return lambda: array


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path}: not a .npy file of numbers, or damaged ({error})") from error


def _read(path: Path, suffix: str, key: str | None) -> np.ndarray:
    if suffix == ".png":
        return read_label(path, 255)
    if suffix == ".flo":
        flow = read_flo(path)
        return np.where(known_flow(flow)[..., None], flow, np.nan).transpose(2, 0, 1)
    if suffix == ".pfm":
        values = read_pfm(path)
        values = np.where(np.isfinite(values), values, np.nan)
        return values if values.ndim == 2 else values.transpose(2, 0, 1)
    try:
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return arrays[_choose(path, arrays.files, key)]
        with safe_open(path, "pt") as tensors:
            return to_numpy("scores", tensors.get_tensor(_choose(path, tensors.keys(), key)))
    except DataError:
        raise
    except Exception as error:  # every reader has its own errors, and they name neither the file nor what is wrong
        raise DataError(f"{path}: not a file of arrays, or damaged ({error})") from error


def _choose(path: Path, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        wanted = "give the name of one by --key" if key is None else f"none is named {key!r}"
        raise DataError(f"{path}: holds arrays {', '.join(names)}; {wanted}")
    return key


def guess_kind(path: Path, array: np.ndarray) -> Kind:
    """Return what a file probably holds: integers are labels, .flo and .pfm hold values, all else scores."""
    if array.dtype.kind in "iu":
        return "labels"
    return "values" if path.suffix.lower() in (".flo", ".pfm") else "scores"


def check_output(path: Path, kind: Kind, channels: int) -> None:
    """Check that results can be written into a file of this name.

    Raises:
        DataError: If not.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITTEN_SUFFIXES:
        raise DataError(f"{path}: the output must be a file of {', '.join(WRITTEN_SUFFIXES)}")
    if suffix == ".png" and (kind == "values" or channels > 255):
        raise DataError(f"{path}: a .png holds labels of up to 255 classes, got {channels} channels of {kind}")
    wanted = {".flo": (2,), ".pfm": (1, 3)}.get(suffix)
    if wanted is not None and (kind != "values" or channels not in wanted):
        numbers = " or ".join(map(str, wanted))
        raise DataError(f"{path}: a {suffix} holds {numbers} channels of values, got {channels} of {kind}")


def write_output(path: Path, array: np.ndarray) -> None:
    """Write labels (H, W) as a .png with VOC's colours, or values (C, H, W) or (H, W) as .flo or .pfm."""
    suffix = path.suffix.lower()
    if suffix == ".png":
        write_png(path, array.astype(np.uint8), voc_palette())
        return
    values = array.astype(np.float32)
    values = values[0] if len(values) == 1 else values.transpose(1, 2, 0) if values.ndim == 3 else values
    if suffix == ".flo":
        write_flo(path, np.nan_to_num(values, nan=_UNKNOWN_FLOW))
    else:
        write_pfm(path, values)
