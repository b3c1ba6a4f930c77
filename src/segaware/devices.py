"""The device that work is done on where the user names none."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """Return the GPU if PyTorch can use one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
