"""Checks and conversions that every operator makes on its arguments before it computes anything."""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
from torch import Tensor

# What is computed in. There are other floating-point types, of 8 bits and fewer, in which torch itself does not compute.
FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

_LARGEST = 2**31 - 1  # so that no product of two numbers overflows 64 bits
_MOST_ITERATIONS = 10_000


def check_integer(name: str, value: object, least: int, most: int = _LARGEST) -> int:
    """Return `value` as an int: an int, or what else counts as one, as NumPy's integers do.

    Raises:
        ValueError: If it is none (nor is a bool or a tensor), or not from `least` to `most`.
    """
    number = as_integer(value)
    if number is None or number < least:
        raise ValueError(f"{name} must be an int of at least {least}, got {value!r}")
    if number > most:
        raise ValueError(f"{name} must be an int of at most {most}, got {value!r}")
    return number


def as_integer(value: object) -> int | None:
    """Return an int, or what else counts as one, as NumPy's integers do; None for all else, bools and tensors too."""
    if isinstance(value, (bool, Tensor)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def check_iterations(iterations: int, least: int = 1) -> int:
    """Return `iterations` as an int.

    Raises:
        ValueError: If it is none of at least `least`, or so many that they would hardly end.
    """
    return check_integer("iterations", iterations, least, _MOST_ITERATIONS)


def check_tensor(name: str, value: object, wanted: str, fits: Callable[[Tensor], bool] = lambda tensor: True) -> None:
    """Raise unless `value` is a dense tensor of one of the types in `FLOATING`, and fits.

    Args:
        name: Name of the argument.
        value: What was given.
        wanted: What it must be, for the message.
        fits: Whether a tensor of such a type has the right shape.

    Raises:
        TypeError: If it is no tensor.
        ValueError: If it is sparse, nested or quantized, or has another type or shape.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be {wanted}, got {type(value).__name__}")
    if not (is_dense(value) and value.dtype in FLOATING and fits(value)):
        types = "" if value.dtype in FLOATING else f" (of {', '.join(str(dtype) for dtype in FLOATING)})"
        raise ValueError(f"{name} must be {wanted}{types}, got {describe(value)}")


def is_dense(tensor: Tensor) -> bool:
    """Say whether a tensor is neither sparse nor nested."""
    return tensor.layout == torch.strided and not tensor.is_nested


def describe(value: object) -> str:
    """Return the type, and of a tensor the shape, of what was given for an argument."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.is_nested:  # has no shape
        return f"a nested tensor of {value.dtype}"
    layout = "" if value.layout == torch.strided else f"a tensor of {value.layout} and "
    return f"{layout}{value.dtype} of shape {tuple(value.shape)}"


def check_image(name: str, tensor: Tensor, channels: str = "C") -> None:
    """Raise unless `tensor` is a floating-point image batch (N, C, H, W) or image (C, H, W), see `check_tensor`."""
    wanted = f"a floating-point tensor of shape (N, {channels}, H, W) or ({channels}, H, W)"
    check_tensor(name, tensor, wanted, lambda tensor: tensor.dim() in (3, 4))


def check_mask(mask: Tensor, expected: tuple[int, ...]) -> None:
    """Raise unless `mask` is a floating-point tensor of exactly the shape (N, K, Ho, Wo), see `check_tensor`."""
    wanted = (
        "a floating-point tensor with one value per image, tap and output pixel, shape "
        f"(N, K, Ho, Wo) = {expected}"
    )
    check_tensor("mask", mask, wanted, lambda mask: tuple(mask.shape) == expected)


def check_devices(**tensors: Tensor | None) -> None:
    """Raise ValueError unless all tensors, given by the names of their arguments, lie on the device of the first."""
    (first, reference), *others = ((name, tensor) for name, tensor in tensors.items() if tensor is not None)
    for name, tensor in others:
        if tensor.device != reference.device:
            raise ValueError(
                f"{first} and {name} must be on the same device, got {first} on {reference.device} and {name} on "
                f"{tensor.device}"
            )


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """Return the type to accumulate in: half precisions accumulate in float32."""
    return torch.float32 if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.dtype


def is_channels_last(tensor: Tensor) -> bool:
    """Say whether a tensor is channels-last and not, because of a size of 1, contiguous as well."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
