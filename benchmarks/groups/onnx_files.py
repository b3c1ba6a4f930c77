"""How far onnxruntime is from PyTorch on exported layers and networks, at sizes that they were not exported with.

The table of docs/export.md is made of it. Windows are those of the paper and weights random, but for the embeddings
that come with segaware.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.harness.plan import Group, Measurement, Settings
from segaware import export_onnx
from segaware.models import DeepLabLargeFOV, DeepLabV2, FlowNetC, FlowNetS, ScoreRefinement, SegAwareFlowNetS
from segaware.nn import BilateralFilter2d, EmbeddingNet, SegAwareConv2d, SegAwareCRF

EXAMPLE, SIZES = (97, 129), ((75, 111), (128, 101))
FEATURES, IMAGE, PAIR = {"input": 64, "embedding": 64}, {"image": 3}, {"image1": 3, "image2": 3}


def _deeplab(**options: object) -> nn.Module:
    return DeepLabLargeFOV(21, hardness=0.1, embedding=EmbeddingNet.from_pretrained(), **options)  # type: ignore[arg-type]


MODULES: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "`SegAwareConv2d(64, 64, 3)`, embedding": (lambda: SegAwareConv2d(64, 64, 3, padding=1, hardness=0.1), FEATURES),
    "`SegAwareConv2d(64, 64, 3)`, distance": (
        lambda: SegAwareConv2d(64, 64, 3, padding=1, hardness=0.1),
        {"input": 64, "distance": 9},
    ),
    "`BilateralFilter2d(9, iterations=2)`": (lambda: BilateralFilter2d(9, iterations=2), FEATURES),
    "`SegAwareCRF(21)`": (lambda: SegAwareCRF(21), {"logits": 21, "embedding": 64}),
    "`EmbeddingNet`": (EmbeddingNet.from_pretrained, IMAGE),
    "`DeepLabLargeFOV`, fc6": (lambda: _deeplab(segaware_layers="fc6"), IMAGE),
    "`DeepLabLargeFOV`, all convolutions and 9x9 filter": (
        lambda: _deeplab(segaware_layers="all", refinement=ScoreRefinement(21, filter_kernel_size=9)),
        IMAGE,
    ),
    "`DeepLabLargeFOV`, CRF": (lambda: _deeplab(refinement=ScoreRefinement(21, crf="segaware")), IMAGE),
    "`DeepLabV2`": (lambda: DeepLabV2(21), IMAGE),
    "`FlowNetS`": (FlowNetS, PAIR),
    "`SegAwareFlowNetS`": (lambda: SegAwareFlowNetS(hardness=0.1, embedding=EmbeddingNet.from_pretrained()), PAIR),
    "`FlowNetC`": (FlowNetC, PAIR),
}


def plan(settings: Settings) -> list[Measurement]:
    """Return one step per module."""
    return [Measurement(title, functools.partial(_check, settings, title)) for title in MODULES]


def _check(settings: Settings, title: str) -> list[dict[str, Any]]:
    import onnx
    import onnxruntime

    make, channels = MODULES[title]
    torch.manual_seed(settings.seed)
    module = make().eval()

    def inputs(batch: int, size: tuple[int, int]) -> dict[str, torch.Tensor]:
        return {name: torch.rand(batch, count, *size) for name, count in channels.items()}

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "module.onnx"
        started = time.perf_counter()
        export_onnx(module, file, inputs(1, EXAMPLE), verify=False)
        seconds = time.perf_counter() - started
        session, nodes = onnxruntime.InferenceSession(file), len(onnx.load(file).graph.node)
    difference = largest = 0.0
    for batch, size in enumerate(SIZES, start=1):
        example = inputs(batch, size)
        with torch.no_grad():
            expected = torch.utils._pytree.tree_leaves(module(**example))
        outputs = session.run(None, {name: x.numpy() for name, x in example.items()})
        for output, wanted in zip(outputs, expected, strict=True):
            difference = max(difference, (torch.from_numpy(output) - wanted).abs().max().item())
            largest = max(largest, wanted.abs().max().item())
    facts = {"difference": difference, "largest": largest, "nodes": nodes, "seconds": round(seconds)}
    return [{"title": title, **facts}]


GROUP = Group(
    "Exported modules",
    "How far onnxruntime is from PyTorch.",
    plan,
    runs="named",
    needs=("onnx", "onnxscript", "onnxruntime"),
    rows="rows",
    facts={"example": EXAMPLE, "sizes": SIZES},
)
