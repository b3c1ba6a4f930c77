"""Networks of other libraries, with random weights, and where the test set-up keeps these libraries."""

from __future__ import annotations

import sys
from pathlib import Path

import torch


def find_libraries() -> None:
    """Let torchvision, timm and segmentation_models_pytorch be imported from where `make test` has put them.

    That torchvision is not built for a PyTorch without CUDA. All it misses there are two operators that no network
    needs, but it cannot be imported unless they are declared.
    """
    folder = Path(sys.prefix) / "architectures"
    if not folder.is_dir() or str(folder) in sys.path:
        return
    sys.path.append(str(folder))
    if torch.version.cuda is None:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
