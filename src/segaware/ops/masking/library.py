"""What torch's compiler, exporter and autograd know about the kernel of `attention_mask`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segaware.ops._backends import kernels
from segaware.ops._library import fake, operator, register_gradient


@operator()
def attention_mask(distance: Tensor, hardness: Tensor, backend: str) -> Tensor:
    """Run the kernel; the hardness has no dimensions."""
    return kernels("masking", backend).forward(distance, hardness)


@operator()
def attention_mask_backward(grad: Tensor, distance: Tensor, hardness: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    """Return the gradients of distance and hardness."""
    return kernels("masking", backend).backward(grad, distance, hardness)


@fake(attention_mask)
def _(distance: Tensor) -> Tensor:
    return torch.empty_like(distance, memory_format=torch.contiguous_format)


@fake(attention_mask_backward)
def _(distance: Tensor, hardness: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(distance, memory_format=torch.contiguous_format), torch.empty_like(hardness)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    distance, hardness, ctx.backend = inputs
    ctx.save_for_backward(distance, hardness)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    return *attention_mask_backward(grad, *ctx.saved_tensors, ctx.backend), None


register_gradient(attention_mask, _differentiate, _save)
