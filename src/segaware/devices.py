"""The device that work is done on where the user names none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_chosen: torch.device | None = None


def default_device() -> torch.device:
    """Return the device of `using_device`, or else the GPU if PyTorch can use one, otherwise the CPU."""
    device = _chosen or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    logging.getLogger("segaware").info("device: %s", device)
    return device


@contextmanager
def using_device(device: torch.device | None) -> Iterator[None]:
    """Make a device the default one for the length of a `with` block; None changes nothing."""
    global _chosen
    before, _chosen = _chosen, device or _chosen
    try:
        yield
    finally:
        _chosen = before
