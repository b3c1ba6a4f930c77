"""Registration of the kernels as operators of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

_LIBRARY = torch.library.Library("segaware", "FRAGMENT")


def operator(schema: str, devices: Sequence[str] = ("CPU", "CUDA")) -> Callable[[Callable[..., Any]], Any]:
    """Register the decorated function as what the operator `segaware::...` of this schema does on some devices.

    The name then stands for the operator. `torch.library.custom_op` would do the same, but its first call imports
    torch's whole compiler: a second, and 60 MB.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)

    def register(function: Callable[..., Any]) -> Any:
        for device in devices:
            _LIBRARY.impl(name, function, device)
        return getattr(torch.ops.segaware, name).default

    return register


def register_gradient(name: str, differentiate: Callable[..., Any], save: Callable[..., None]) -> None:
    """Register the gradient of an operator, which its twin `NAME_backward` computes and which has none of its own.

    Args:
        name: Name of the operator.
        differentiate: As `backward` of a `torch.autograd.Function`.
        save: As its `setup_context`. It saves outputs detached: the output itself would hold its own graph where
            saved-tensor hooks keep what they are given, in a cycle that Python's collector cannot see.
    """

    def refuse(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(
            "segaware's kernels are differentiable once: for a gradient of a gradient, choose the backend 'reference'"
        )

    torch.library.register_autograd(f"segaware::{name}", differentiate, setup_context=save)
    torch.library.register_autograd(f"segaware::{name}_backward", refuse)  # or torch would leave that gradient out
