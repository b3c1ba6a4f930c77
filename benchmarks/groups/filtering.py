"""The bilateral filter, its distances and mask included, beside other implementations of the same filter."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import operations
from benchmarks.harness.measure import Goal
from benchmarks.harness.plan import Measurement, Settings, forward, time_in_turn
from segaware.ops import attention_mask, embedding_distance, segaware_filter2d, segaware_upsample

_SIGMA_COLOR, _SIGMA_SPACE = 0.3, 3.0


def plan(
    settings: Settings, side: int = 321, kernel_size: int = 9, channels: int = 21, dim: int = 64
) -> list[Measurement]:
    """Return the measurements: the filter on an embedding, two metrics, and on the image's own colours; upsampling."""
    size = f"{kernel_size}x{kernel_size}, {side}x{side}"
    learned = f"{size}, {channels} channels, {dim}-channel embedding"
    enlarged = f"Upsampling by 8 to {side}x{side}, {channels} channels, {dim}-channel embedding"
    inputs = (settings, side, kernel_size, channels, dim)
    return [
        Measurement(title, functools.partial(function, title, *inputs))
        for title, function in (
            (f"{learned}, L1 distance", _absolute),
            (f"{learned}, squared distance", _squared),
            (f"{size}, an RGB image by its own colours, disc with Gaussian weights", _own_colors),
            (enlarged, _upsampled),
        )
    ]


def _random(settings: Settings, side: int, channels: int) -> Tensor:
    return torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(settings.seed))


def _absolute(
    title: str, settings: Settings, side: int, kernel_size: int, channels: int, dim: int
) -> list[dict[str, Any]]:
    # The hardness makes an average neighbour count exp(-2).
    arguments = (_random(settings, side, channels), _random(settings, side, dim), kernel_size, 2 / dim)
    contenders = {
        "segaware": forward(operations.bilateral_filter, *arguments),
        "unfold": forward(settings.peer("unfold", "bilateral_filter"), *arguments),
    }
    goal = Goal(("segaware",), ("unfold",), limit=20, faster=True)
    return [time_in_turn(settings, title, contenders, ("unfold",), [goal], same={"unfold": 0})]


def _squared(
    title: str, settings: Settings, side: int, kernel_size: int, channels: int, dim: int
) -> list[dict[str, Any]]:
    arguments = (_random(settings, side, channels), _random(settings, side, dim), kernel_size, 1 / dim)
    contenders = {
        "segaware": forward(operations.bilateral_filter, *arguments, "sqeuclidean"),
        "kornia": forward(settings.peer("kornia_filter", "bilateral_filter"), *arguments),
    }
    return [time_in_turn(settings, title, contenders, ("kornia",), same={"kornia": kernel_size // 2})]


def _own_colors(title: str, settings: Settings, side: int, kernel_size: int, *_: int) -> list[dict[str, Any]]:
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(settings.seed))
    arguments = (image, kernel_size, _SIGMA_COLOR, _SIGMA_SPACE)
    contenders = {
        "segaware": forward(_filter_by_colors, *arguments),
        "OpenCV": forward(settings.peer("opencv_filter", "filter_by_colors"), *arguments),
    }
    return [time_in_turn(settings, title, contenders, ("OpenCV",), same={"OpenCV": kernel_size // 2})]


def _upsampled(title: str, settings: Settings, side: int, _: int, channels: int, dim: int) -> list[dict[str, Any]]:
    coarse, embedding = _random(settings, -(-side // 8), channels), _random(settings, side, dim)
    contenders = {
        "segaware": forward(segaware_upsample, coarse, embedding, embedding[..., ::8, ::8].contiguous(), 1 / dim),
        "F.interpolate": forward(functools.partial(F.interpolate, size=(side, side), mode="bilinear"), coarse),
    }
    return [time_in_turn(settings, title, contenders, ("F.interpolate",))]


def _filter_by_colors(image: Tensor, kernel_size: int, sigma_color: float, sigma_space: float) -> Tensor:
    offset = torch.arange(kernel_size) - kernel_size // 2
    radius = (offset[:, None].square() + offset.square()).flatten()
    in_disc = radius <= (kernel_size // 2) ** 2
    spatial = torch.exp(-radius / (2 * sigma_space**2)) * in_disc
    distances = embedding_distance(image, kernel_size, padding="same")
    mask = attention_mask(distances.square_(), 0.5 / sigma_color**2).mul_(spatial[:, None, None])
    return segaware_filter2d(image, mask, kernel_size)
