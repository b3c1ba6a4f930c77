"""References under autocast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

_Function = TypeVar("_Function", bound=Callable[..., Any])


def autocast_enabled(device: str) -> bool:
    """Say whether autocast is on for a type of device; some, as "meta", have none."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def without_autocast(function: _Function) -> _Function:
    """Let a function compute in the types of the tensors that it is given.

    Autocast would round its products and keep its sums in half precision. Kernels are out of its reach by themselves.
    """

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        tensors = (value for value in (*arguments, *options.values()) if isinstance(value, Tensor))
        device = next((tensor.device.type for tensor in tensors), "cpu")
        if not autocast_enabled(device):
            return function(*arguments, **options)
        with torch.autocast(device, enabled=False):
            return function(*arguments, **options)

    return run  # type: ignore[return-value]
