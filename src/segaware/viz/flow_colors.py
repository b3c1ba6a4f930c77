"""Optical flow in the colours of the Middlebury benchmark: numpy uint8 pictures of shape (H, W, 3)."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from segaware.metrics.motion_boundary import is_motion
from segaware.viz.colors import describe

MIN_LEGEND = 64  # pixels; smaller numbers cannot be read


def flow_colors(flow: Tensor, max_norm: float | None = None, valid: Tensor | None = None) -> np.ndarray:
    """Paint every pixel in the colour of its motion: hue is the direction, saturation the length.

    The colours of Baker et al. (A Database and Evaluation Methodology for Optical Flow, IJCV 2011): still is white,
    the longest motion has the full colour of its direction, and longer motion than `max_norm` is darkened.

    Args:
        flow: (2, H, W) floating point, u to the right and v down in pixels.
        max_norm: length that gets the full colour, in pixels, positive. None takes the largest one known. Give the
            same number for pictures to compare.
        valid: (H, W) bool, where the flow is known; None takes it for known everywhere.

    Returns:
        Picture, uint8, shape (H, W, 3). Black where the flow is not known: not valid, not finite, or above 1e9.

    Raises:
        ValueError: an argument has another type, shape or range.

    Example:
        >>> flow_colors(torch.tensor([[[0.0, 1.0, 2.0]], [[0.0, 0.0, 0.0]]]), max_norm=1.0).tolist()
        [[[255, 255, 255], [255, 0, 0], [191, 0, 0]]]
    """
    if not isinstance(flow, Tensor) or flow.ndim != 3 or len(flow) != 2 or not flow.is_floating_point():
        raise ValueError(f"flow must be a floating point tensor of shape (2, H, W), got {describe(flow)}")
    if valid is not None and (valid.dtype != torch.bool or valid.shape != flow.shape[1:]):
        raise ValueError(f"valid must be a bool tensor of shape {tuple(flow.shape[1:])}, got {describe(valid)}")
    if max_norm is not None:
        _check_max_norm(max_norm)
    known = is_motion(flow)
    if valid is not None:
        known &= valid
    u, v = torch.where(known, flow.detach(), 0.0).cpu().double().numpy()
    norm = np.hypot(u, v)
    if max_norm is None:
        max_norm = norm.max(initial=0.0) or 1.0
    picture = _paint(u, v, norm / max_norm)
    picture[~known.cpu().numpy()] = 0
    return picture


def _paint(u: np.ndarray, v: np.ndarray, saturation: np.ndarray) -> np.ndarray:
    wheel = _color_wheel()
    # The original's way of finding the hue, which rightwards is the first, red, and clockwise the next.
    position = (np.arctan2(-v, -u) / np.pi + 1) / 2 * (len(wheel) - 1)
    first = position.astype(int)
    share = (position - first)[..., None]
    hue = (1 - share) * wheel[first] + share * wheel[(first + 1) % len(wheel)]
    saturation = saturation[..., None]
    return (255 * np.where(saturation <= 1, 1 - saturation * (1 - hue), 0.75 * hue)).astype(np.uint8)


def _color_wheel() -> np.ndarray:
    """The 55 hues, (55, 3) in 0..1, from red by yellow, green, cyan, blue and magenta back towards red."""
    red, yellow, green, cyan, blue, magenta = np.array(
        [(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255)]
    )
    arcs = (
        (red, yellow, 15),
        (yellow, green, 6),
        (green, cyan, 4),
        (cyan, blue, 11),
        (blue, magenta, 13),
        (magenta, red, 6),
    )
    return np.concatenate([a + np.trunc((b - a) * np.arange(n)[:, None] / n) for a, b, n in arcs]) / 255


def _check_max_norm(max_norm: float) -> None:
    if not 0 < max_norm < math.inf:
        raise ValueError(f"max_norm must be positive and finite, got {max_norm}")


def error_colors(error: Tensor, max_error: float, valid: Tensor) -> np.ndarray:
    """Paint end-point errors: black for none, through red and orange to light yellow for `max_error` and more.

    Args:
        error: (H, W) floating point, in pixels.
        max_error: error from which on pixels look the same, in pixels, positive.
        valid: (H, W) bool, where the true flow is known.

    Returns:
        Picture, uint8, shape (H, W, 3). Grey where the flow is not known.
    """
    picture = matplotlib.colormaps["inferno"]((error / max_error).clamp(0, 1).numpy(), bytes=True)[..., :3]
    picture[~valid.numpy()] = 128
    return picture


def flow_legend(size: int, max_norm: float) -> np.ndarray:
    """Draw the wheel of `flow_colors`: a disc with the colour of each motion where that motion leads from its centre.

    Args:
        size: side of the picture in pixels, at least 64.
        max_norm: length of the motion at the rim in pixels, written on the wheel.

    Returns:
        Picture, uint8, shape (size, size, 3), white outside the disc.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> flow_legend(96, max_norm=12.5).shape
        (96, 96, 3)
    """
    if size < MIN_LEGEND:
        raise ValueError(f"size must be at least {MIN_LEGEND}, got {size}")
    _check_max_norm(max_norm)
    radius = (size - 1) / 2
    offset = np.arange(size) - radius
    u, v = np.meshgrid(offset, offset)
    norm = np.hypot(u, v) / radius
    wheel = _paint(u, v, norm)
    wheel[norm > 1] = 255
    canvas = Image.fromarray(wheel)
    # A scale from the centre to the rim, and what it stands for above it, where the wheel is palest.
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size // 8 + 3)
    draw.line((radius, radius, size - 1, radius), "black")
    draw.line((radius, radius - 2, radius, radius + 2), "black")
    length = f"{max_norm:.3g}" if max_norm < 100 else f"{max_norm:.0f}"
    draw.text((radius, radius - 2), f"{length} px", "black", font, anchor="md")
    return np.array(canvas)
