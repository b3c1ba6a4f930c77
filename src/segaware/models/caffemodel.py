"""Caffe's .caffemodel files: protocol buffers, decoded here by hand, so that neither Caffe nor protobuf is needed."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

# Numbers of fields in caffe.proto. A network has layers, or, of 2014 and before, layers of another kind (V1).
_LAYERS = {100: {"name": 1, "blobs": 7}, 2: {"name": 4, "blobs": 6}}
_SHAPE, _DIM, _OLD_SHAPE = 7, 1, (1, 2, 3, 4)
_NUMBERS = {5: torch.float32, 8: torch.float64}

_Span = tuple[int, int]  # first byte, and the one after the last


class _DamagedError(ValueError):
    """Bytes are no protocol buffer, or not one that describes a network."""


def read_caffemodel(path: str | Path) -> dict[str, list[Tensor]]:
    r"""Read the weights in a .caffemodel file, of any version of Caffe.

    The file is mapped into memory, and tensors are views of it: what is not used is not read from disk, and writing to
    a tensor does not change the file.

    Args:
        path: The file.

    Returns:
        The blobs of every layer that has any, by its name, in the shapes that the file has for them. Blobs of old
        files have four dimensions always.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of another kind, cut off or damaged, or holds no weights.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> blob = b"\x3a\x03\x0a\x01\x02" + b"\x2a\x08" + b"\x00\x00\x80\x3f\x00\x00\x00\x40"
        >>> layer = b"\x0a\x02fc" + b"\x3a" + bytes([len(blob)]) + blob
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "tiny.caffemodel"
        ...     _ = path.write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
        ...     read_caffemodel(path)
        {'fc': [tensor([1., 2.])]}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Caffe weights: no file {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"Caffe weights: {path} is empty")
    with path.open("rb") as file:
        # A private copy, of which the system makes pages only where they are written to: torch wants to be able to.
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if not any(byte < 0x20 and byte not in b"\t\n\r" for byte in data[:512]):
        raise ValueError(
            f"Caffe weights: {path} is text; a .prototxt describes a network, its weights are in a .caffemodel"
        )
    try:
        layers = _layers(data)
    except _DamagedError as error:
        raise ValueError(f"Caffe weights: {path} is not a .caffemodel, or it is cut off or damaged: {error}") from error
    if not layers:
        raise ValueError(f"Caffe weights: {path} is not a .caffemodel: it holds no layer with weights")
    return layers


def _layers(data: mmap.mmap) -> dict[str, list[Tensor]]:
    layers: dict[str, list[Tensor]] = {}
    for field, layer in _fields(data, (0, len(data))):
        if field not in _LAYERS:
            continue
        numbers = _LAYERS[field]
        name, blobs = "", []
        for inner, value in _fields(data, _span(layer)):
            if inner == numbers["name"]:
                name = _text(data, _span(value))
            elif inner == numbers["blobs"]:
                blobs.append(_span(value))
        if blobs:
            if name in layers:
                raise _DamagedError(f"two layers are named {name!r}")
            layers[name] = [_blob(data, blob, f"{name}[{i}]") for i, blob in enumerate(blobs)]
    return layers


def _blob(data: mmap.mmap, span: _Span, name: str) -> Tensor:
    shape: list[int] | None = None
    old_shape: dict[int, int] = {}
    parts: list[Tensor] = []
    for field, value in _fields(data, span):
        if field == _SHAPE:
            dims = [dim for number, dim in _fields(data, _span(value)) if number == _DIM]
            shape = [n for dim in dims for n in ([dim] if isinstance(dim, int) else _varints(data, dim))]
        elif field in _OLD_SHAPE and isinstance(value, int):
            old_shape[field] = value
        elif field in _NUMBERS:
            start, end = _span(value)
            count, rest = divmod(end - start, _NUMBERS[field].itemsize)
            if rest:
                raise _DamagedError(f"blob {name} ends within a number")
            if count:  # a network's writer may spread them over several fields
                parts.append(torch.frombuffer(data, dtype=_NUMBERS[field], count=count, offset=start))
    numbers = parts[0] if len(parts) == 1 else torch.cat([torch.empty(0), *parts])
    if shape is None:
        shape = [old_shape.get(field, 1) for field in _OLD_SHAPE] if old_shape else [len(numbers)]
    if math.prod(shape) != len(numbers):
        raise _DamagedError(f"blob {name} has {len(numbers)} numbers for shape {tuple(shape)}")
    return numbers.view(shape)


def _fields(data: mmap.mmap, span: _Span) -> Iterator[tuple[int, int | _Span]]:
    """Yield the number of each field of a message, and its value: an int, or where its bytes are."""
    at, end = span
    while at < end:
        key, start = _varint(data, at, end)
        field, kind = key >> 3, key & 7
        if field == 0 or kind not in (0, 1, 2, 5):
            raise _DamagedError(f"at byte {at} begins no field")
        value, at = _varint(data, start, end) if kind in (0, 2) else ({1: 8, 5: 4}[kind], start)
        if kind == 0:
            yield field, value
            continue
        if at + value > end:
            raise _DamagedError(f"{value} bytes from byte {at} on go beyond byte {end}, where they should end")
        yield field, (at, at + value)
        at += value


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Return the int at a byte, seven bits in each byte and the lowest first, and where it ends."""
    value = 0
    for i, byte in enumerate(data[at : min(at + 10, end)]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise _DamagedError(f"at byte {at} begins no number that ends before byte {end}")


def _varints(data: mmap.mmap, span: _Span) -> list[int]:
    at, values = span[0], []
    while at < span[1]:
        value, at = _varint(data, at, span[1])
        values.append(value)
    return values


def _span(value: int | _Span) -> _Span:
    if isinstance(value, int):
        raise _DamagedError(f"there is a number, {value}, where there should be a message")
    return value


def _text(data: mmap.mmap, span: _Span) -> str:
    try:
        return data[span[0] : span[1]].decode()
    except UnicodeDecodeError as error:
        raise _DamagedError(f"the name of a layer at byte {span[0]} is no text") from error
