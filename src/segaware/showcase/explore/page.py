"""The page as one file: HTML, style, scripts, the photograph and its embeddings."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segaware.atomic import write_atomically
from segaware.nn import Embedding
from segaware.showcase.explore.inputs import STRIDE, Photograph, Sketch
from segaware.showcase.explore.model import Model
from segaware.viz import embedding_colors
from segaware.viz.page import POLICY, read_part, render_page

_FOLDER = Path(__file__).parent
# A page with a model loads a module that is in it, and compiles WebAssembly.
_MODEL_POLICY = POLICY.replace("script-src", "script-src 'wasm-unsafe-eval' blob:")
_SCRIPTS = {
    "shared": ("shared",),
    "worker": ("filter", "scores", "worker"),
    "embedder": ("embedder",),
    "scripts": ("shared", "files", "inputs", "stage", "sketch", "look", "app", "tools", "model", "home"),
}


def quantize(embedding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an embedding as int8 and the scales of its channels; what is added to a channel changes no distance.

    Args:
        embedding: Floating-point numbers (E, h, w).

    Returns:
        int8 (E, h, w), and float32 (E,).
    """
    low, high = embedding.min((1, 2)), embedding.max((1, 2))
    scales = np.maximum((high - low) / 254, np.finfo(np.float32).tiny).astype(np.float32)
    middle = (low + high) / 2
    return np.rint((embedding - middle[:, None, None]) / scales[:, None, None]).astype(np.int8), scales


@torch.inference_mode()
def embed(network: Embedding, pixels: np.ndarray) -> Tensor:
    """Return the embedding (E, h, w) of a photograph, uint8 (H, W, 3), at the page's stride."""
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    embedding: Tensor = network(image, STRIDE)[0]
    return embedding


def write_page(
    path: Path,
    photograph: Photograph,
    networks: Mapping[str, Embedding],
    sketches: Sequence[Sketch] = (),
    truth: Sketch | None = None,
    model: Model | None = None,
) -> None:
    """Write the page.

    Args:
        path: File to write, in an existing folder.
        photograph: What it shows.
        networks: The embeddings that it offers beside colour, by the names that `segaware.refine` knows them by.
        sketches: What it sharpens first, and what it compares with that; nothing if not given.
        truth: What it should be, if that is known.
        model: With what the page embeds other photographs, as the first of `networks`; they cannot be opened without.
    """
    height, width = photograph.pixels.shape[:2]
    embeddings = []
    for name, network in networks.items():
        embedding = embed(network, photograph.pixels)
        content, scales = quantize(embedding.numpy())
        # Differences to the row above, which wrap around, are smaller numbers: a fifth less to keep.
        rows = np.diff(content, axis=1, prepend=np.int8(0))
        picture = _jpeg(embedding_colors(embedding[network.colors :]), 85)
        embeddings.append(
            {"name": name, "content": _pack(rows.tobytes()), "scales": scales.tolist(), "picture": picture}
        )
    data: dict[str, Any] = {
        "name": photograph.name,
        "height": height,
        "width": width,
        "fileSize": list(photograph.size),
        "stride": STRIDE,
        "embeddings": embeddings,
        "sketches": [_sketch_data(sketch) for sketch in sketches],
        "truth": truth and _sketch_data(truth),
        "model": model
        and {"name": next(iter(networks)), **{key: _pack(part) for key, part in model._asdict().items()}},
    }
    parts = {
        "title": escape(photograph.name),
        "photograph": _jpeg(photograph.pixels, 92),
        "data": json.dumps(data).replace("<", "\\u003c"),
    }
    for part, names in _SCRIPTS.items():
        parts[part] = "\n".join(_read(f"{name}.js") for name in names)
    parts["scripts"] += read_part("wipe.js")
    body = re.sub(r"<!--(\w+)-->", lambda mark: parts[mark[1]], _read("page.html"))
    policy = _MODEL_POLICY if model else POLICY
    write_atomically(path, render_page(f"{photograph.name} · segaware explore", body, _read("style.css"), policy))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


def _sketch_data(sketch: Sketch) -> dict[str, Any]:
    values = {name: getattr(sketch, name) for name in ("name", "kind", "key", "classes")}
    return {**values, "points": sketch.given.shape[-2:], "content": _pack(sketch.given.tobytes())}


def _pack(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _jpeg(pixels: np.ndarray, quality: int) -> str:
    buffer = io.BytesIO()
    # Colours at full resolution, for filters see them.
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
