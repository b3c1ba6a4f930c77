"""The device that work is done on where the user names none."""

from __future__ import annotations

import logging

import torch


def default_device() -> torch.device:
    """Return the GPU if PyTorch can use one, otherwise the CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    logging.getLogger("segaware").info("device: %s", device)
    return device
