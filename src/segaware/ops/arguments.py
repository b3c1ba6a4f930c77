"""Checks and conversions that every operator makes on its tensor arguments before it computes anything."""

from __future__ import annotations

import operator

import torch
from torch import Tensor

_LARGEST = 2**31 - 1  # so that no product of two numbers overflows 64 bits


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


def check_image(name: str, tensor: Tensor, channels: str = "C") -> None:
    """Raise ValueError unless `tensor` is a floating-point image batch (N, C, H, W) or image (C, H, W)."""
    if tensor.dim() not in (3, 4) or not tensor.is_floating_point():
        raise ValueError(
            f"{name} must be a floating-point tensor of shape (N, {channels}, H, W) or ({channels}, H, W), "
            f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
        )


def check_mask(mask: Tensor, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless `mask` is a floating-point tensor of exactly the expected shape (N, K, Ho, Wo)."""
    if tuple(mask.shape) != expected or not mask.is_floating_point():
        raise ValueError(
            "mask must be a floating-point tensor with one value per image, tap and output pixel, shape "
            f"(N, K, Ho, Wo) = {expected}, got {mask.dtype} of shape {tuple(mask.shape)}"
        )


def check_iterations(iterations: int) -> None:
    """Raise ValueError unless `iterations` is an int of at least 1."""
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"iterations must be an int of at least 1, got {iterations!r}")


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """Return the type to accumulate in: half precisions accumulate in float32."""
    return torch.float32 if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.dtype


def is_channels_last(tensor: Tensor) -> bool:
    """Say whether a tensor is channels-last and not, because of a size of 1, contiguous as well."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
