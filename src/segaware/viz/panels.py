"""Pictures in a row with captions, and numbered marks on a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from segaware.viz.colors import require_picture

CAPTION_HEIGHT = 24
MIN_WIDTH = 160  # pixels; leaves room for about twenty letters
ARM = 6  # half the length of a mark's strokes, pixels
NUMBER_HEIGHT = 13  # of a mark's number with its rim, pixels


def side_by_side(panels: Sequence[tuple[str, np.ndarray]], gap: int = 8) -> np.ndarray:
    """Put pictures of one height in a row on white, a caption above each.

    Small pictures are enlarged by one whole factor, all alike, until the narrowest is 160 pixels wide. A caption
    wider than its picture ends in an ellipsis. The font, Pillow's own, has no letters beyond ASCII.

    Args:
        panels: pairs of a caption and a picture, uint8, shape (H, W, 3), H the same for all.
        gap: white space between pictures, pixels.

    Returns:
        Picture, uint8: 24 rows of captions, then the pictures.

    Raises:
        ValueError: no panels, pictures of another type or of different heights, or a negative gap.

    Example:
        >>> photo = np.zeros((120, 160, 3), np.uint8)
        >>> side_by_side([("input", photo), ("output", photo)]).shape
        (144, 328, 3)
    """
    if not panels or gap < 0:
        raise ValueError(f"want at least one panel and a gap of 0 or more, got {len(panels)} panels and gap {gap}")
    for caption, picture in panels:
        require_picture(f"panel {caption!r}", picture)
    heights = [picture.shape[0] for _, picture in panels]
    if len(set(heights)) > 1:
        raise ValueError(f"panels must have one height, got {heights}")
    factor = -(-MIN_WIDTH // min(picture.shape[1] for _, picture in panels))
    pictures = [picture.repeat(factor, 0).repeat(factor, 1) for _, picture in panels]
    width = sum(picture.shape[1] + gap for picture in pictures) - gap
    canvas = Image.new("RGB", (width, CAPTION_HEIGHT + pictures[0].shape[0]), "white")
    draw, font, left = ImageDraw.Draw(canvas), ImageFont.load_default(15), 0
    for (caption, _), picture in zip(panels, pictures, strict=True):
        draw.text((left, 17), _shorten(caption, font, picture.shape[1]), "black", font, anchor="ls")
        canvas.paste(Image.fromarray(picture), (left, CAPTION_HEIGHT))
        left += picture.shape[1] + gap
    return np.array(canvas)


def _shorten(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    caption = short = " ".join(caption.split())
    while font.getlength(short) > width:
        caption = caption[:-1]
        short = caption.rstrip() + "..."
    return short


def mark_points(image: np.ndarray, points: Sequence[tuple[int, int]]) -> np.ndarray:
    """Draw a numbered cross at each point, white with a dark rim so that it shows on any ground.

    Args:
        image: picture, uint8, shape (H, W, 3).
        points: (row, column) of each point; the first is number 1.

    Returns:
        A copy of the picture with the marks, uint8, shape (H, W, 3).

    Raises:
        ValueError: `image` has another type or shape, or a point lies outside it.
    """
    require_picture("image", image)
    height, width = image.shape[:2]
    for row, column in points:
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(f"points must lie inside the image of {height} x {width} pixels, got {(row, column)}")
    canvas = Image.fromarray(image)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for number, (row, column) in enumerate(points, start=1):
        for color, thickness, arm in (("black", 3, ARM + 1), ("white", 1, ARM)):
            draw.line((column - arm, row, column + arm, row), color, thickness)
            draw.line((column, row - arm, column, row + arm), color, thickness)
        # The number stands above and right of the cross, or on the other side where the border is too near.
        length = draw.textlength(str(number), font)
        left = column + 4 if column + 5 + length < width else column - 4 - length
        baseline = row - 4 if row - 4 >= NUMBER_HEIGHT else row + 3 + NUMBER_HEIGHT
        draw.text((left, baseline), str(number), "white", font, anchor="ls", stroke_width=1, stroke_fill="black")
    return np.array(canvas)


def image_picture(image: Tensor) -> np.ndarray:
    """Return an image, RGB (3, H, W) in 0..1, as a picture, uint8 (H, W, 3)."""
    return (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures, uint8 (H, W, 3), below one another on white."""
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures])
