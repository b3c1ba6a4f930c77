"""The network that a page runs itself, and the runtime that it takes for that."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segaware.export import export_onnx
from segaware.nn import Embedding
from segaware.showcase.explore.inputs import STRIDE

_SCRIPT, _MODULE, _WASM = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
_EXAMPLE = (97, 129)  # height and width of the image that the network is traced with


class Model(NamedTuple):
    """The content of files.

    Attributes:
        onnx: The embedding network at the page's stride, for images (1, 3, H, W) in 0..1 of any size.
        script: onnxruntime-web's script for workers.
        module: What that loads.
        wasm: What that compiles.
    """

    onnx: bytes
    script: bytes
    module: bytes
    wasm: bytes


class _AtStride(nn.Module):
    def __init__(self, network: Embedding) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        embedding: Tensor = self.network(image, STRIDE)
        return embedding


def open_model(folder: Path, network: Embedding) -> Model:
    """Read onnxruntime-web's files, and write an embedding network as ONNX.

    Args:
        folder: `dist/` of the npm package onnxruntime-web, or another one with its three files for WebAssembly.
        network: The embedding.

    Raises:
        FileNotFoundError: If a file is missing.
        ModuleNotFoundError: If the packages that write ONNX files are not installed.
    """
    missing = [name for name in (_SCRIPT, _MODULE, _WASM) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"--with-model must be the folder dist/ of the npm package onnxruntime-web, got {folder}, which has no "
            + " and no ".join(missing)
        )
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "embedding.onnx"
        example = torch.rand(1, 3, *_EXAMPLE, generator=torch.Generator().manual_seed(0))
        export_onnx(_AtStride(network).eval(), path, example)
        return Model(path.read_bytes(), *((folder / name).read_bytes() for name in (_SCRIPT, _MODULE, _WASM)))
