"""Labels, errors, embeddings and masks as RGB pictures: numpy uint8 of shape (H, W, 3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segaware.constants import IGNORE_INDEX
from segaware.ops.arguments import as_integer
from segaware.ops.window import as_pair

WRONG = np.array((214, 39, 40), np.uint8)
RIGHT = np.array((232, 232, 232), np.uint8)
VOID = np.array((0, 0, 0), np.uint8)
FRAME = np.array((255, 64, 0), np.uint8)


def colorize(label: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Give every pixel the colour of its class.

    Args:
        label: classes, integers from 0 to 255, shape (H, W).
        palette: colour of each class, uint8, shape (256, 3).

    Returns:
        Picture, uint8, shape (H, W, 3).

    Raises:
        ValueError: an argument has another type, shape or range.

    Example:
        >>> palette = np.zeros((256, 3), np.uint8)
        >>> palette[15] = 192, 128, 128
        >>> colorize(np.array([[0, 15]]), palette).tolist()
        [[[0, 0, 0], [192, 128, 128]]]
    """
    _require_label("label", label)
    if label.size and not (label.min() >= 0 and label.max() <= 255):
        raise ValueError(f"label must lie in 0..255, got {label.min()}..{label.max()}")
    if not isinstance(palette, np.ndarray) or palette.shape != (256, 3) or palette.dtype != np.uint8:
        raise ValueError(f"palette must be a uint8 array of shape (256, 3), got {describe(palette)}")
    return palette[label]


def overlay(image: np.ndarray, label: np.ndarray, palette: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Lay the colours of the classes over a photograph.

    Args:
        image: photograph, uint8, shape (H, W, 3).
        label: classes, integers from 0 to 255, shape (H, W).
        palette: colour of each class, uint8, shape (256, 3).
        opacity: share of the class's colour, 0 (photograph only) to 1 (colours only).

    Returns:
        Picture, uint8, shape (H, W, 3).

    Raises:
        ValueError: an argument has another type, shape or range.
    """
    require_picture("image", image)
    colors = colorize(label, palette)
    if colors.shape != image.shape:
        raise ValueError(f"label must have the image's height and width {image.shape[:2]}, got {label.shape}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie in 0..1, got {opacity}")
    return np.rint((1 - opacity) * image + opacity * colors).astype(np.uint8)


def error_map(prediction: np.ndarray, target: np.ndarray, ignore_index: int | None = IGNORE_INDEX) -> np.ndarray:
    """Paint wrong pixels red, right ones light grey and void ones black.

    Args:
        prediction: predicted classes, integers, shape (H, W).
        target: true classes, integers, shape (H, W).
        ignore_index: value of `target` that marks void pixels; None if none does.

    Returns:
        Picture, uint8, shape (H, W, 3).

    Raises:
        ValueError: an argument has another type, or the shapes differ.
    """
    _require_label("prediction", prediction)
    _require_label("target", target)
    if prediction.shape != target.shape:
        raise ValueError(f"prediction must have the target's shape {target.shape}, got {prediction.shape}")
    picture = np.where((prediction == target)[..., None], RIGHT, WRONG)
    if ignore_index is not None:
        picture[target == ignore_index] = VOID
    return picture


def embedding_colors(embedding: Tensor) -> np.ndarray:
    """Show the first three principal components of an embedding as red, green and blue.

    Each component is stretched between its 1st and 99th percentile. Rotating or mirroring the embedding space
    changes nothing. A component that does not exist (E < 3, or no variation) is mid-grey.

    Args:
        embedding: floating point, shape (E, H, W).

    Returns:
        Picture, uint8, shape (H, W, 3).

    Raises:
        ValueError: `embedding` has another type or shape, or is not finite.
    """
    if not isinstance(embedding, Tensor) or embedding.ndim != 3 or not embedding.is_floating_point():
        raise ValueError(f"embedding must be a floating point tensor of shape (E, H, W), got {describe(embedding)}")
    if embedding.numel() == 0 or not embedding.isfinite().all():
        raise ValueError(f"embedding must be finite and not empty, got {describe(embedding)}")
    height, width = embedding.shape[1:]
    pixels = embedding.detach().cpu().double().flatten(1).T
    centred = pixels - pixels.mean(0)
    variance, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    # Less variation than this is rounding in single precision; stretched, it would look like structure.
    real = variance > 1e-12 * pixels.square().mean()
    scores = (centred @ axes[:, real]).flip(1)[:, :3].numpy()
    picture = np.full((height * width, 3), 0.5)
    for channel, score in enumerate(scores.T):
        picture[:, channel] = _stretch(_with_fixed_sign(score))
    return np.rint(255 * picture).astype(np.uint8).reshape(height, width, 3)


def _with_fixed_sign(score: np.ndarray) -> np.ndarray:
    # The sign of a principal axis is arbitrary. Deciding it by a pixel, not by the axis, survives any rotation of the
    # embedding space: the first pixel far from the mean is bright.
    far = np.abs(score) >= 0.5 * np.abs(score).max()
    return score * np.sign(score[far.argmax()])


def _stretch(score: np.ndarray) -> np.ndarray:
    low, high = np.percentile(score, (1, 99))
    if high - low < 1e-6 * np.ptp(score):  # all variation is in fewer than one pixel of a hundred
        low, high = score.min(), score.max()
    return np.clip((score - low) / (high - low), 0, 1)


def mask_picture(mask: Tensor, kernel_size: int | tuple[int, int], scale: int = 8) -> np.ndarray:
    """Show the mask of one pixel as a grey tile, 0 black and 1 white, with a frame around the centre tap.

    Args:
        mask: mask values in 0..1, floating point, shape (K,), taps in row-major order.
        kernel_size: height and width of the window, both odd, or one number for both.
        scale: side of a tap, pixels, at least 3.

    Returns:
        Picture, uint8, shape (kh * scale, kw * scale, 3).

    Raises:
        ValueError: an argument has another type, shape or range.
    """
    height, width = as_pair("kernel_size", kernel_size, 1)
    if height % 2 == 0 or width % 2 == 0:
        raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
    if not isinstance(mask, Tensor) or mask.shape != (height * width,) or not mask.is_floating_point():
        raise ValueError(f"mask must be a floating point tensor of shape ({height * width},), got {describe(mask)}")
    if not ((mask >= 0) & (mask <= 1)).all():
        raise ValueError(f"mask must lie in 0..1, got {mask.min():g}..{mask.max():g}")
    side = as_integer(scale)
    if side is None or side < 3:
        raise ValueError(f"scale must be at least 3, got {scale}")
    grey = np.rint(255 * mask.detach().cpu().double().numpy()).astype(np.uint8).reshape(height, width)
    tile = np.repeat(grey.repeat(side, 0).repeat(side, 1)[..., None], 3, axis=2)
    top, left = height // 2 * side, width // 2 * side
    centre = tile[top : top + side, left : left + side]
    centre[[0, -1]] = FRAME
    centre[:, [0, -1]] = FRAME
    return tile


def require_picture(name: str, picture: np.ndarray) -> None:
    """Raise a ValueError that names the argument unless it is a uint8 array of shape (H, W, 3), not empty."""
    fits = isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.shape[2] == 3 and picture.size > 0
    if not fits or picture.dtype != np.uint8:
        raise ValueError(f"{name} must be a uint8 array of shape (H, W, 3), got {describe(picture)}")


def _require_label(name: str, label: np.ndarray) -> None:
    if not isinstance(label, np.ndarray) or label.ndim != 2 or not np.issubdtype(label.dtype, np.integer):
        raise ValueError(f"{name} must be an integer array of shape (H, W), got {describe(label)}")


def describe(value: object) -> str:
    """Return the type and shape of an argument, for an error."""
    if isinstance(value, np.ndarray | Tensor):
        return f"{type(value).__name__} of {value.dtype} and shape {tuple(value.shape)}"
    return type(value).__name__
