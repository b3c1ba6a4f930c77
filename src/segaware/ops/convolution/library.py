"""What torch's compiler, exporter and autograd know about the kernels of `segaware_conv2d`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from segaware.ops._backends import kernels
from segaware.ops._library import fake, operator, register_gradient
from segaware.ops.arguments import compute_dtype, is_channels_last
from segaware.ops.window import Window


@operator()
def conv2d(
    input: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, window: list[int], groups: int,
    normalize: str, backend: str,
) -> Tensor:  # fmt: skip
    """Run the kernel; `window` is `Window.numbers()`."""
    geometry = Window.from_numbers(window)
    return kernels("convolution", backend).forward(input, weight, mask, bias, geometry, groups, normalize)


@operator()
def conv2d_backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    mask: Tensor,
    window: list[int],
    groups: int,
    normalize: str,
    backend: str,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of input, weight, mask and bias; empty tensors for those that are not needed."""
    geometry = Window.from_numbers(window)
    grads: tuple[Tensor, Tensor, Tensor, Tensor]
    grads = kernels("convolution", backend).backward(grad, input, weight, mask, geometry, groups, normalize, needed)
    if needed[1] and normalize != "none":
        # A window without a normalised value has 0 / 0 times the value of every tap, outside the image too.
        undefined = (mask.sum(1, dtype=compute_dtype(mask)) == 0).any()
        grads[1].masked_fill_(undefined, math.nan)
    return grads


def _format(*tensors: Tensor) -> torch.memory_format:
    """Return channels-last if a tensor is; contiguous if both are the same because of a size of 1."""
    return torch.channels_last if any(map(is_channels_last, tensors)) else torch.contiguous_format


@fake(conv2d)
def _(input: Tensor, weight: Tensor, window: list[int]) -> Tensor:
    size = (input.shape[0], weight.shape[0], *Window.from_numbers(window).output_size(input))
    return torch.empty(size, dtype=input.dtype, device=input.device, memory_format=_format(input, weight))


@fake(conv2d_backward)
def _(grad: Tensor, input: Tensor, weight: Tensor, mask: Tensor, needed: list[bool]) -> tuple[Tensor, ...]:
    like = (
        torch.empty_like(input, memory_format=_format(input)),
        torch.empty_like(weight, memory_format=_format(weight)),
        torch.empty_like(mask, memory_format=torch.contiguous_format),
        grad.new_empty(weight.shape[0]),
    )
    return tuple(g if need else grad.new_empty(0) for g, need in zip(like, needed, strict=True))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, weight, mask, _, *ctx.arguments = inputs
    ctx.save_for_backward(input, weight, mask)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    needed = list(ctx.needs_input_grad[:4])
    grads = conv2d_backward(grad, *ctx.saved_tensors, *ctx.arguments, needed)
    return *(g if need else None for g, need in zip(grads, needed, strict=True)), None, None, None, None


register_gradient(conv2d, _differentiate, _save)
