"""The trained embedding network at work on the photograph that comes with segaware."""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from segaware.data import photograph, photograph_logits, read_image
from segaware.nn import load_embedding
from segaware.refining import Method, refine
from segaware.viz import embedding_colors, side_by_side
from segaware.viz.masks import draw_masks

# (column, row) of corners of a rough outline of the cat, and (row, column) of pixels whose masks are shown.
_OUTLINE = ((55, 0), (25, 70), (0, 130), (0, 299), (330, 299), (345, 200), (365, 110), (350, 60), (395, 0))
_POINTS = ((60, 48), (150, 335), (255, 310))
_HARDNESS, _REACH = 1.0, 16


@torch.inference_mode()
def draw_photograph() -> tuple[list[tuple[str, np.ndarray]], np.ndarray]:
    """Return the photograph, its embedding, a network's prediction and the same sharpened, and masks of some pixels.

    Returns:
        Four pictures of one size, uint8 (H, W, 3), with captions; and one of the masks.
    """
    pixels = read_image(photograph())
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    network = load_embedding()
    embedding = network(image)
    logits = photograph_logits()
    predicted, sharpened = (refine(pixels, logits, strength=s, classify=True) for s in (0, "auto"))
    panels = [
        ("photograph", pixels),
        ("embedding (PCA)", embedding_colors(embedding[0, network.colors :])),
        ("DeepLabV3, interpolated", _darken(pixels, predicted)),
        ("sharpened", _darken(pixels, sharpened)),
    ]
    return panels, draw_masks(pixels, _POINTS, {"mask": (embedding, _HARDNESS)}, _REACH)


def draw_refinements() -> np.ndarray:
    """Return a picture, uint8 (H, W, 3): a rough label of the photograph, and what `refine` makes of it."""
    pixels = read_image(photograph())
    label = _outline(pixels.shape[1], pixels.shape[0])[0].numpy().astype(np.uint8)
    refined = {method: refine(pixels, label, method, kind="labels", strength=1) for method in get_args(Method)}
    panels = [(caption, _darken(pixels, cat)) for caption, cat in ({"given": label} | refined).items()]
    return side_by_side(panels)


def _darken(pixels: np.ndarray, cat: np.ndarray) -> np.ndarray:
    """Darken what is not the cat, where its label is 0."""
    return np.where(cat[..., None] > 0, pixels, pixels // 4)


def _outline(width: int, height: int) -> Tensor:
    label = Image.new("L", (width, height))
    ImageDraw.Draw(label).polygon(_OUTLINE, fill=1)
    return torch.from_numpy(np.array(label)).long()[None]
