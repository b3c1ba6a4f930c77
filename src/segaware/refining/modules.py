"""Modules given by the caller: run on their own device and in evaluation mode, and left unchanged."""

from __future__ import annotations

import copy
from itertools import chain
from typing import TypeVar

import torch
from torch import nn

Given = TypeVar("Given")


def in_evaluation(name: str, given: Given) -> Given:
    """Return a function or module in evaluation mode: the given one, or a copy if part of it is in training mode.

    The copy has the module's own parameters and buffers, which take no memory and which evaluation only reads. So
    nothing of a module changes, not even for a moment in which another thread may use or train it.

    Args:
        name: The argument's name, for errors.
        given: A module, or another function, which is returned.

    Raises:
        ValueError: If the module cannot be copied.
    """
    if not isinstance(given, nn.Module) or not any(part.training for part in given.modules()):
        return given
    tensors = {id(tensor): tensor for tensor in chain(given.parameters(), given.buffers())}
    try:
        return copy.deepcopy(given, tensors).eval()
    except Exception as error:  # a module may hold anything
        raise ValueError(
            f"{name} must be in evaluation, or a module of which a copy can be made ({error}): call its eval()"
        ) from error


def device_of(given: object, default: torch.device) -> torch.device:
    """Return the device of a module's tensors; `default` for other functions and modules without any."""
    tensors = chain(given.parameters(), given.buffers()) if isinstance(given, nn.Module) else iter(())
    return next((tensor.device for tensor in tensors), default)
