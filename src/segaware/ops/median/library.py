"""What torch's compiler, exporter and autograd know about the kernels of `segaware_median2d`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segaware.ops._backends import kernels
from segaware.ops._library import fake, operator, register_gradient
from segaware.ops.window import Window


@operator(devices=["CPU"])
def median2d(
    input: Tensor, mask: Tensor, window: list[int], center_weight: float, backend: str
) -> tuple[Tensor, Tensor]:
    """Run the kernel once; `window` is `Window.numbers()`. The second result are the taps, int32, -1 for none."""
    return kernels("median", backend).forward(input, mask, Window.from_numbers(window), center_weight)


@operator(devices=["CPU"])
def median2d_backward(grad: Tensor, tap: Tensor, window: list[int], backend: str) -> Tensor:
    """Return the gradient of the input."""
    return kernels("median", backend).backward(grad, tap, Window.from_numbers(window))


def _contiguous_like(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty_like(tensor, dtype=dtype, memory_format=torch.contiguous_format)


@fake(median2d)
def _(input: Tensor) -> tuple[Tensor, Tensor]:
    return _contiguous_like(input), _contiguous_like(input, torch.int32)


@fake(median2d_backward)
def _(grad: Tensor) -> Tensor:
    return _contiguous_like(grad)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, _, window, _, backend = inputs
    ctx.arguments = window, backend
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
    needed = ctx.needs_input_grad[0]
    return median2d_backward(grad, *ctx.saved_tensors, *ctx.arguments) if needed else None, None, None, None, None


register_gradient(median2d, _differentiate, _save)
