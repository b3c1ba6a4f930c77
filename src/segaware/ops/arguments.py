"""Checks and conversions that every operator makes on its arguments before it computes anything."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Sequence
from typing import TypeGuard

import torch
from torch import Tensor

# There are other floating-point types, of 8 bits and fewer, which torch stores but does not compute in.
FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# What labels come in.
INTEGERS = (
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64),
)

MOST_CLASSES = 2**15  # beyond sense: a CRF's matrix of them takes 4 GB

_LARGEST = 2**31 - 1  # so that no product of two numbers overflows 64 bits
_LARGEST_NUMBER = 1e30  # far beyond sense, and in float32 with room to multiply
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


def is_number(value: object) -> TypeGuard[float]:
    """Say whether `value` is a finite number that float32 can hold and multiply; NumPy's are numbers, bools none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and abs(float(value)) <= _LARGEST_NUMBER


def check_iterations(iterations: int, least: int = 1) -> int:
    """Return `iterations` as an int.

    Raises:
        ValueError: If it is none of at least `least`, or so many that they would hardly end.
    """
    return check_integer("iterations", iterations, least, _MOST_ITERATIONS)


def check_tensor(
    name: str,
    value: object,
    wanted: str,
    fits: Callable[[Tensor], bool] = lambda tensor: True,
    dtypes: Sequence[torch.dtype] = FLOATING,
) -> None:
    """Raise unless `value` is a dense tensor that has one of some types, and fits.

    Args:
        name: Name of the argument.
        value: What was given.
        wanted: What it must be, for the message.
        fits: Whether a tensor of such a type has the right shape.
        dtypes: The types.

    Raises:
        TypeError: If it is no tensor.
        ValueError: If it is sparse, nested or quantized, or has another type or shape.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be {wanted}, got {type(value).__name__}")
    if value.is_nested or value.layout != torch.strided:
        kind = "nested" if value.is_nested else value.layout
        raise ValueError(f"{name} must be {wanted}, got a tensor of {value.dtype} that is {kind}, not dense")
    if value.dtype not in dtypes or not fits(value):
        # That integers are wanted says enough.
        said = value.dtype in dtypes or dtypes is not FLOATING
        types = "" if said else f" (its type one of {', '.join(map(str, dtypes))})"
        raise ValueError(f"{name} must be {wanted}{types}, got {value.dtype} of shape {tuple(value.shape)}")


def check_image(name: str, tensor: Tensor, channels: str = "C") -> None:
    """Raise unless `tensor` is a floating-point image batch (N, C, H, W) or image (C, H, W), see `check_tensor`.

    A batch may be without images, but no image without channels or pixels.
    """
    wanted = f"a floating-point tensor of shape (N, {channels}, H, W) or ({channels}, H, W)"
    check_tensor(name, tensor, wanted, lambda tensor: tensor.dim() in (3, 4))
    if 0 in tensor.shape[-3:]:
        raise ValueError(f"{name} must have at least 1 channel and 1 pixel, got shape {tuple(tensor.shape)}")


def check_rgb(name: str, image: Tensor) -> None:
    """Raise unless `image` is floating-point RGB of shape (N, 3, H, W), see `check_tensor`."""
    wanted = "floating-point RGB of shape (N, 3, H, W)"
    fits = lambda image: image.dim() == 4 and image.shape[1] == 3 and 0 not in image.shape[2:]  # noqa: E731
    check_tensor(name, image, wanted, fits)


def check_mask(mask: Tensor, expected: tuple[int, ...]) -> None:
    """Raise unless `mask` is a floating-point tensor of exactly the shape (N, K, Ho, Wo), see `check_tensor`."""
    wanted = (
        f"a floating-point tensor with one value per image, tap and output pixel, shape (N, K, Ho, Wo) = {expected}"
    )
    check_tensor("mask", mask, wanted, lambda mask: tuple(mask.shape) == expected)


def check_context(layer: str, embedding: Tensor | None, distance: Tensor | None) -> None:
    """Raise unless exactly one of the two is given to a layer, and is a floating-point image, see `check_image`."""
    if (embedding is None) == (distance is None):
        raise ValueError(f"give {layer} either an embedding or a distance, and not both")
    if embedding is not None:
        check_image("embedding", embedding, channels="E")
    if distance is not None:
        check_image("distance", distance, channels="K")


def check_devices(**tensors: Tensor | None) -> None:
    """Raise ValueError unless all tensors, given by the names of their arguments, lie on the device of the first."""
    (first, reference), *others = ((name, tensor) for name, tensor in tensors.items() if tensor is not None)
    for name, tensor in others:
        if tensor.device != reference.device:
            raise ValueError(
                f"{first} and {name} must be on the same device, got {first} on {reference.device} and {name} on "
                f"{tensor.device}"
            )


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise ValueError if a value is NaN or infinite, where values can be asked for (see `value_range`)."""
    low, high = value_range(tensor) or (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} must be finite, got values from {low} to {high}")


def value_range(tensor: Tensor) -> tuple[float, float] | None:
    """Return the smallest and the largest value, both NaN if one is.

    None if there are no values to ask for: of an empty, meta or fake tensor, and while a program is compiled.
    """
    if torch.compiler.is_compiling() or tensor.numel() == 0:
        return None
    low, high = tensor.detach().aminmax()
    try:
        return low.item(), high.item()
    except RuntimeError:
        return None


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """Return the type to accumulate in: half precisions accumulate in float32."""
    return torch.float32 if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.dtype


def is_channels_last(tensor: Tensor) -> bool:
    """Say whether a tensor is channels-last and not, because of a size of 1, contiguous as well."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
