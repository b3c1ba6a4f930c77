"""What torch's compiler, exporter and autograd know about the kernels of `segaware_upsample`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from segaware.ops._backends import kernels
from segaware.ops._library import fake, operator, register_gradient


@operator()
def upsample(
    input: Tensor, embedding: Tensor, coarse_embedding: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor,
    radius: int, backend: str,
) -> Tensor:  # fmt: skip
    """Run the kernel; `rows` (H,) and `columns` (W,) are where pixels lie among the points, see `taps.places`."""
    arguments = input, embedding, coarse_embedding, hardness, rows, columns, radius
    return kernels("upsampling", backend).forward(*arguments)


@operator()
def upsample_backward(
    grad: Tensor,
    input: Tensor,
    embedding: Tensor,
    coarse_embedding: Tensor,
    hardness: Tensor,
    rows: Tensor,
    columns: Tensor,
    output: Tensor,
    radius: int,
    backend: str,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the first four arguments; empty tensors for those that are not needed."""
    arguments = grad, input, embedding, coarse_embedding, hardness, rows, columns, output, radius, needed
    return kernels("upsampling", backend).backward(*arguments)


@fake(upsample)
def _(input: Tensor, embedding: Tensor) -> Tensor:
    return input.new_empty(*input.shape[:2], *embedding.shape[2:])


@fake(upsample_backward)
def _(
    input: Tensor, embedding: Tensor, coarse_embedding: Tensor, hardness: Tensor, needed: list[bool]
) -> tuple[Tensor, ...]:
    given = zip((input, embedding, coarse_embedding, hardness), needed, strict=True)
    return tuple(t.new_empty(t.shape if need else 0) for t, need in given)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, radius, backend = inputs
    ctx.arguments = radius, backend
    ctx.save_for_backward(*tensors, output.detach())  # see `register_gradient`


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    needed = list(ctx.needs_input_grad[:4])
    grads = upsample_backward(grad, *ctx.saved_tensors, *ctx.arguments, needed)
    return *(g if need else None for g, need in zip(grads, needed, strict=True)), None, None, None, None


register_gradient(upsample, _differentiate, _save)
