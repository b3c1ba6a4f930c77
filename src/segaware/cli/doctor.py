"""What is installed and what can run here."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from segaware.ops._backends import backend_notes

_PACKAGES = ("segaware", "torch", "numpy", "numba", "triton", "lightning", "torchmetrics", "safetensors", "pillow")


def report_lines() -> list[str]:
    """Return the lines that `segaware doctor` prints."""
    lines = [f"{'python':14} {platform.python_version()} on {platform.system()} {platform.machine()}"]
    for package in _PACKAGES:
        try:
            lines.append(f"{package:14} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package:14} not installed")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that this PyTorch can use"
    lines += [f"{'threads':14} {torch.get_num_threads()}", f"{'GPU':14} {gpu}", "", "backends of the operators"]
    lines += [f"{backend:14} {note}" for backend, note in backend_notes().items()]
    return lines


def doctor() -> None:
    """Print versions, and which backends can run here or why they cannot."""
    for line in report_lines():
        print(line)
