"""Eq. 3: embedding distances become a local attention mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from segaware.ops._backends import choose_backend
from segaware.ops.arguments import check_devices, check_tensor, compute_dtype, is_number, value_range
from segaware.ops.masking import library

_ROUNDING = 1e-5  # so far below 0 a hardness does nothing yet, and its slope at 0 can be measured


def attention_mask(distance: Tensor, hardness: float | Tensor) -> Tensor:
    """Turn embedding distances into a soft mask: m = exp(-hardness * distance), Eq. 3 of Harley et al. 2017.

    The mask is 1 where the distance is 0 (so at the centre of every window) and falls towards 0 with distance.
    Hardness 0 makes a mask of ones, with which every operator here is its ordinary counterpart, whatever the distance:
    one that is infinite or NaN, as large features give in half precision, counts only where the hardness is above 0.

    Args:
        distance: Distances of any shape, usually (N, K, Ho, Wo) from `embedding_distance`.
        hardness: The paper's lambda, 0 or more; a float, or a tensor (for learning) that broadcasts to `distance`. On a
            GPU the values of a tensor are not looked at, for that would wait for it.

    Returns:
        The mask, with the shape and dtype of `distance`. Half precisions are computed in float32. Distances that are
        not finite have no part in the gradient of the hardness.

    Raises:
        ValueError: If `distance` is not floating-point, or `hardness` is negative (such a mask would prefer the other
            side of the border), not finite, of another shape or on another device.
        TypeError: If `distance` is no tensor.

    Example:
        >>> attention_mask(torch.tensor([0.0, 1.0, 2.0]), hardness=1.0)
        tensor([1.0000, 0.3679, 0.1353])
    """
    check_tensor("distance", distance, "a floating-point tensor")
    _check_hardness(hardness, distance)
    # torch's compiler fuses what is below; without it, that is a launch for each operation.
    if isinstance(hardness, Tensor) and hardness.dim() == 0 and not torch.compiler.is_compiling():
        backend = choose_backend(None, distance.device)
        if backend == "triton":
            return cast(Tensor, library.attention_mask(distance, hardness, backend))
    distances = distance.to(compute_dtype(distance))
    differentiated = any(isinstance(given, Tensor) and given.requires_grad for given in (distance, hardness))
    if differentiated and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        if not isinstance(hardness, Tensor):
            hardness = distances.new_full((), hardness)
        mask: Tensor = _Mask.apply(distances, within_range(hardness, distances.dtype))
    else:
        mask = log_mask(distances, hardness).exp_()
    return mask.to(distance.dtype)


def _check_hardness(hardness: float | Tensor, distance: Tensor) -> None:
    shape = tuple(distance.shape)
    wanted = f"a number or a floating-point tensor that broadcasts to the shape of distance, {shape}"
    check_hardness(hardness, wanted, lambda hardness: _broadcasts(tuple(hardness.shape), shape))
    if isinstance(hardness, Tensor):
        check_devices(distance=distance, hardness=hardness)


def check_hardness(hardness: float | Tensor, wanted: str, fits: Callable[[Tensor], bool]) -> None:
    """Raise ValueError unless the hardness is 0 or more: a number, or a floating-point tensor that fits."""
    if not isinstance(hardness, Tensor):
        if not (is_number(hardness) and hardness >= 0):
            raise ValueError(f"hardness must be finite and 0 or more, got {hardness!r}")
        return
    check_tensor("hardness", hardness, wanted, fits)
    low, high = (hardness.is_cpu and value_range(hardness)) or (0.0, 0.0)
    if not -_ROUNDING <= low <= high < math.inf:
        raise ValueError(f"hardness must be finite and 0 or more, got values from {low} to {high}")


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Say whether a shape broadcasts to another and does not enlarge it."""
    return len(shape) <= len(to) and all(own in (1, n) for own, n in zip(shape[::-1], to[::-1], strict=False))


def log_mask(distance: Tensor, hardness: float | Tensor, overwrite: bool = False) -> Tensor:
    """Return -hardness * distance, in the dtype of `distance`, where 0 times infinity or NaN is 0.

    If `overwrite`, in the memory of `distance`; no gradient may be recorded then.
    """
    highest = torch.finfo(distance.dtype).max
    if not isinstance(hardness, Tensor):
        if hardness == 0:
            distance = distance.nan_to_num(0.0, 0.0, 0.0)
        return distance * -min(hardness, highest)
    hardness = within_range(hardness, distance.dtype)
    if overwrite:
        return distance.mul_(-hardness).masked_fill_(hardness == 0, 0)
    product: Tensor = _LogMask.apply(distance, hardness)
    return product


def within_range(hardness: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the hardness in a dtype, no larger than that holds."""
    return hardness.to(dtype).clamp(max=torch.finfo(dtype).max)


class _LogMask(torch.autograd.Function):
    """-hardness * distance, with a gradient that is finite where a distance is not."""

    generate_vmap_rule = True

    @staticmethod
    def forward(distance: Tensor, hardness: Tensor) -> Tensor:
        return (distance * -hardness).masked_fill_(hardness == 0, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return _gradients(ctx, grad, *ctx.saved_tensors)


class _Mask(_LogMask):
    """The exponential of that.

    torch's keeps its output, which holds its own graph where saved-tensor hooks keep what they are given: see
    `register_gradient`. This one's is detached, and for a gradient of the gradient computed again.
    """

    @staticmethod
    def forward(distance: Tensor, hardness: Tensor) -> Tensor:
        return _LogMask.forward(distance, hardness).exp_()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output.detach())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        distance, hardness, mask = ctx.saved_tensors
        if torch.is_grad_enabled():
            mask = _LogMask.apply(distance, hardness).exp()
        return _gradients(ctx, grad * mask, distance, hardness)


def _gradients(ctx: Any, grad: Tensor, distance: Tensor, hardness: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return those of distance and hardness, given that of the mask's logarithm."""
    grad_distance = grad * -hardness if ctx.needs_input_grad[0] else None
    grad_hardness = None
    if ctx.needs_input_grad[1]:
        grad_hardness = (-grad * distance.nan_to_num(0.0, 0.0, 0.0)).sum_to_size(hardness.shape)
    return grad_distance, grad_hardness
