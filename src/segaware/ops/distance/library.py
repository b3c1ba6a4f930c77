"""What torch's compiler, exporter and autograd know about the kernels of `embedding_distance`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segaware.ops._backends import kernels
from segaware.ops._library import fake, operator, register_gradient
from segaware.ops.arguments import is_channels_last
from segaware.ops.window import Window


@operator()
def embedding_distance(embedding: Tensor, window: list[int], metric: str, backend: str) -> Tensor:
    """Run the kernel; `window` is `Window.numbers()`."""
    return kernels("distance", backend).forward(embedding, Window.from_numbers(window), metric)


@operator()
def embedding_distance_backward(
    grad: Tensor, embedding: Tensor, distance: Tensor, window: list[int], metric: str, backend: str
) -> Tensor:
    """Return the gradient of the embedding."""
    return kernels("distance", backend).backward(grad, embedding, distance, Window.from_numbers(window), metric)


@fake(embedding_distance)
def _(embedding: Tensor, window: list[int]) -> Tensor:
    geometry = Window.from_numbers(window)
    return embedding.new_empty(embedding.shape[0], geometry.size, *geometry.output_size(embedding))


@fake(embedding_distance_backward)
def _(embedding: Tensor, backend: str) -> Tensor:
    keeps = backend == "triton" and is_channels_last(embedding)
    return torch.empty_like(embedding, memory_format=torch.channels_last if keeps else torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    embedding, *ctx.arguments = inputs
    ctx.save_for_backward(embedding, output.detach())  # see `register_gradient`


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    return embedding_distance_backward(grad, *ctx.saved_tensors, *ctx.arguments), None, None, None


register_gradient(embedding_distance, _differentiate, _save)
