"""How far onnxruntime is from PyTorch on exported layers and networks, at sizes that they were not exported with.

    python benchmarks/onnx_check.py

writes results/bench/onnx.json (ten minutes), from which `make docs` makes the table of docs/export.md. Windows are
those of the paper and weights random, but for the embeddings that come with segaware.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import nn
from tqdm.auto import tqdm

from segaware import export_onnx
from segaware.models import DeepLabLargeFOV, DeepLabV2, FlowNetC, FlowNetS, ScoreRefinement, SegAwareFlowNetS
from segaware.nn import BilateralFilter2d, EmbeddingNet, SegAwareConv2d, SegAwareCRF
from segaware.provenance import provenance, write_json

OUT = Path("results/bench/onnx.json")
EXAMPLE, SIZES = (97, 129), ((75, 111), (128, 101))
FEATURES, IMAGE, PAIR = {"input": 64, "embedding": 64}, {"image": 3}, {"image1": 3, "image2": 3}
EMBEDDING = EmbeddingNet.from_pretrained()


def _deeplab(**options: object) -> nn.Module:
    return DeepLabLargeFOV(21, hardness=0.1, embedding=copy.deepcopy(EMBEDDING), **options)  # type: ignore[arg-type]


MODULES: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "`SegAwareConv2d(64, 64, 3)`, embedding": (lambda: SegAwareConv2d(64, 64, 3, padding=1, hardness=0.1), FEATURES),
    "`SegAwareConv2d(64, 64, 3)`, distance": (
        lambda: SegAwareConv2d(64, 64, 3, padding=1, hardness=0.1),
        {"input": 64, "distance": 9},
    ),
    "`BilateralFilter2d(9, iterations=2)`": (lambda: BilateralFilter2d(9, iterations=2), FEATURES),
    "`SegAwareCRF(21)`": (lambda: SegAwareCRF(21), {"logits": 21, "embedding": 64}),
    "`EmbeddingNet`": (lambda: EMBEDDING, IMAGE),
    "`DeepLabLargeFOV`, fc6": (lambda: _deeplab(segaware_layers="fc6"), IMAGE),
    "`DeepLabLargeFOV`, all convolutions and 9x9 filter": (
        lambda: _deeplab(segaware_layers="all", refinement=ScoreRefinement(21, filter_kernel_size=9)),
        IMAGE,
    ),
    "`DeepLabLargeFOV`, CRF": (lambda: _deeplab(refinement=ScoreRefinement(21, crf="segaware")), IMAGE),
    "`DeepLabV2`": (lambda: DeepLabV2(21), IMAGE),
    "`FlowNetS`": (FlowNetS, PAIR),
    "`SegAwareFlowNetS`": (lambda: SegAwareFlowNetS(hardness=0.1, embedding=copy.deepcopy(EMBEDDING)), PAIR),
    "`FlowNetC`": (FlowNetC, PAIR),
}


def _check(title: str, file: Path) -> dict[str, object]:
    make, channels = MODULES[title]
    torch.manual_seed(0)
    module = make().eval()

    def inputs(batch: int, size: tuple[int, int]) -> dict[str, torch.Tensor]:
        return {name: torch.rand(batch, count, *size) for name, count in channels.items()}

    started = time.perf_counter()
    export_onnx(module, file, inputs(1, EXAMPLE), verify=False)
    seconds = time.perf_counter() - started
    session = onnxruntime.InferenceSession(file)
    difference = largest = 0.0
    for batch, size in enumerate(SIZES, start=1):
        example = inputs(batch, size)
        with torch.no_grad():
            expected = torch.utils._pytree.tree_leaves(module(**example))
        outputs = session.run(None, {name: x.numpy() for name, x in example.items()})
        for output, wanted in zip(outputs, expected, strict=True):
            difference = max(difference, (torch.from_numpy(output) - wanted).abs().max().item())
            largest = max(largest, wanted.abs().max().item())
    nodes = len(onnx.load(file).graph.node)
    return {"title": title, "difference": difference, "largest": largest, "nodes": nodes, "seconds": round(seconds)}


def main() -> None:
    """Check all modules, and write the file."""
    measured = provenance("python", sys.argv[0]) | {"onnxruntime": onnxruntime.__version__}
    with tempfile.TemporaryDirectory() as folder:
        rows = [_check(title, Path(folder) / "module.onnx") for title in tqdm(MODULES)]
    write_json(OUT, {"example": EXAMPLE, "sizes": SIZES, "rows": rows, "measured": measured})
    print(OUT)


if __name__ == "__main__":
    main()
