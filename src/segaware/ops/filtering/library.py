"""What torch's compiler, exporter and autograd know about the kernels of `segaware_filter2d`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segaware.ops._backends import kernels
from segaware.ops._library import fake, operator, register_gradient
from segaware.ops.arguments import compute_dtype
from segaware.ops.window import Window


@operator()
def filter2d(input: Tensor, mask: Tensor, window: list[int], border: str, backend: str) -> tuple[Tensor, Tensor]:
    """Run the kernel once; `window` is `Window.numbers()`. The second result is the sum of the mask, (N, 1, H, W)."""
    return kernels("filtering", backend).forward(input, mask, Window.from_numbers(window), border)


@operator()
def filter2d_backward(
    grad: Tensor,
    input: Tensor,
    mask: Tensor,
    output: Tensor,
    total: Tensor,
    window: list[int],
    border: str,
    backend: str,
    needed: list[bool],
) -> tuple[Tensor, Tensor]:
    """Return the gradients of input and mask; empty tensors for those that are not needed."""
    geometry = Window.from_numbers(window)
    return kernels("filtering", backend).backward(grad, input, mask, output, total, geometry, border, needed)


def _contiguous_like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


@fake(filter2d)
def _(input: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return _contiguous_like(input), mask.new_empty(mask[:, :1].shape, dtype=compute_dtype(mask))


@fake(filter2d_backward)
def _(input: Tensor, mask: Tensor, needed: list[bool]) -> tuple[Tensor, ...]:
    return tuple(_contiguous_like(t) if need else t.new_empty(0) for t, need in zip((input, mask), needed, strict=True))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    input, mask, *ctx.arguments = inputs
    filtered, total = output
    ctx.save_for_backward(input, mask, filtered.detach(), total)  # see `register_gradient`
    ctx.mark_non_differentiable(total)


def _differentiate(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
    needed = list(ctx.needs_input_grad[:2])
    grads = filter2d_backward(grad, *ctx.saved_tensors, *ctx.arguments, needed)
    return *(g if need else None for g, need in zip(grads, needed, strict=True)), None, None, None


register_gradient(filter2d, _differentiate, _save)
