"""Hardness, the paper's lambda: one learnable scalar per layer that is never negative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from segaware.ops.arguments import is_number


class _NonNegative(torch.autograd.Function):
    """max(x, 0) whose gradient at and below 0 lets x grow but not sink.

    An absolute value has no gradient at 0 and a plain clamp none below it, so with either a hardness that starts at 0,
    or that a large step has pushed under it, could never become active again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where((x <= 0) & (grad > 0), 0, grad)


def nonnegative(hardness: Tensor) -> Tensor:
    """Return the hardness a layer uses: its parameter, or 0 where an optimizer step has pushed that below 0."""
    return _NonNegative.apply(hardness)


def hardness_parameter(hardness: float, device: torch.device | str | None = None) -> nn.Parameter:
    """Return a learnable hardness, kept in float32.

    Raises:
        ValueError: If `hardness` is negative or not finite.
    """
    if not (is_number(hardness) and hardness >= 0):
        raise ValueError(f"hardness must be finite and 0 or more, got {hardness!r}")
    return nn.Parameter(torch.tensor(float(hardness), device=device))


def shown(parameter: Tensor, function: Callable[[float], float] = float) -> str:
    """Return a function of a learned number for an `extra_repr`; "?" where there is none: of meta and fake tensors."""
    try:
        return f"{function(parameter.item()):.4g}"
    except (RuntimeError, AssertionError):  # the latter of a real tensor where only fake ones are known
        return "?"


def hardness_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return every hardness in `module`."""
    return [p for name, p in module.named_parameters() if name.rpartition(".")[2] == "hardness"]


@torch.no_grad()
def clamp_hardness(module: nn.Module) -> None:
    """Set every hardness in `module` that an optimizer step has pushed below 0 to 0.

    Layers use 0 for it anyway; call this after a step so that what is logged and saved is what is used.

    Args:
        module: A layer or a whole network.
    """
    for parameter in hardness_parameters(module):
        parameter.clamp_(min=0)
