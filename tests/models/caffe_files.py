"""Writing .caffemodel files: the few messages of caffe.proto that hold weights, as protocol buffers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def chunk(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def blob(tensor: Tensor, kind: Literal["new", "old"] = "new", extra: bytes = b"") -> bytes:
    """A BlobProto; of old, of four dimensions, written one by one."""
    if kind == "new":
        shape = chunk(7, chunk(1, b"".join(map(varint, tensor.shape)))) if tensor.dim() else b""
    else:
        sides = [1] * (4 - tensor.dim()) + list(tensor.shape)
        shape = b"".join(number(field, side) for field, side in enumerate(sides, start=1))
    field = 8 if tensor.dtype == torch.float64 else 5
    return shape + chunk(field, tensor.contiguous().numpy().tobytes()) + extra


def layer(name: str, blobs: Sequence[bytes], kind: Literal["new", "old"] = "new") -> bytes:
    """A LayerParameter of type "Convolution" with a bottom and a top; of old, a V1LayerParameter."""
    if kind == "new":
        head = chunk(1, name.encode()) + chunk(2, b"Convolution") + chunk(3, b"data") + chunk(4, name.encode())
        return chunk(100, head + b"".join(chunk(7, b) for b in blobs))
    head = chunk(2, b"data") + chunk(3, name.encode()) + chunk(4, name.encode()) + number(5, 4)
    return chunk(2, head + b"".join(chunk(6, b) for b in blobs))


def write_caffemodel(path: Path, layers: Mapping[str, Sequence[Tensor]], kind: Literal["new", "old"] = "new") -> Path:
    """Write a network with an input, these layers and one without weights."""
    parts = [chunk(1, b"tiny"), chunk(3, b"data"), b"".join(number(4, side) for side in (1, 3, 33, 33))]
    parts += [layer(name, [blob(b, kind) for b in blobs], kind) for name, blobs in layers.items()]
    path.write_bytes(b"".join([*parts, layer("relu", [], kind)]))
    return path
