"""What the figures of operators and layers are made of: the photograph, rough scores of its cat, and their crops."""

from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import segaware
from segaware.data import coarse_scores, photograph, read_image
from segaware.nn import upsample
from segaware.viz import embedding_colors, mark_points, mask_picture

SIDE = 165  # of a panel, pixels: 11 per tap of a window of 15
WINDOW = 15
CROP = (slice(60, 60 + SIDE), slice(265, 265 + SIDE))  # rows and columns of the photograph: an eye, and the cheek
POINT = (88, 91)  # a pixel of the crop just inside the cheek
OUTLINE = ((55, 0), (25, 70), (0, 130), (0, 299), (330, 299), (345, 200), (365, 110), (350, 60), (395, 0))  # (x, y)

Panels = list[tuple[str, np.ndarray]]


@cache
def photo() -> Tensor:
    """Return the photograph, (1, 3, 300, 451) in 0..1."""
    return torch.from_numpy(read_image(photograph())).permute(2, 0, 1)[None] / 255


@cache
def network() -> segaware.EmbeddingNet:
    """Return the paper's embedding network."""
    return segaware.EmbeddingNet.from_pretrained()


@cache
def embedding() -> Tensor:
    """Return the photograph's embedding, (1, 67, 300, 451)."""
    return network()(photo())


def learned_colors() -> np.ndarray:
    """Draw what of a part of the embedding was learned: its principal components, without the colours beside it."""
    return embedding_colors(crop(embedding())[0, network().colors :])


@cache
def rough_label() -> Tensor:
    """Return a rough outline of the cat as a label map, (1, 300, 451)."""
    label = Image.new("L", photo().shape[:1:-1])
    ImageDraw.Draw(label).polygon(OUTLINE, fill=1)
    return torch.from_numpy(np.array(label)).long()[None]


@cache
def rough_scores() -> Tensor:
    """Return noisy scores of it as a network of stride 8 might give them, upsampled, (1, 2, 300, 451)."""
    scores = coarse_scores(rough_label(), 2, generator=torch.Generator().manual_seed(0))
    return upsample(scores, 8, photo().shape[2:])


def crop(maps: Tensor) -> Tensor:
    """Return the part of maps (..., 300, 451) that is shown."""
    return maps[(..., *CROP)]


def rgb(image: Tensor) -> np.ndarray:
    """Return an image (1, 3, H, W) in 0..1 as a picture."""
    return (image[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def gray(values: Tensor) -> np.ndarray:
    """Return a map (H, W) as a picture, 0 black and its largest value white."""
    return rgb((values / values.max()).expand(1, 3, -1, -1))


def tile(mask: Tensor) -> np.ndarray:
    """Return a mask (K,) of the window of a point as a picture."""
    return mask_picture(mask, WINDOW, SIDE // WINDOW)


def marked() -> tuple[str, np.ndarray]:
    """Return the panel of the photograph with the marked point."""
    return "photograph", mark_points(rgb(crop(photo())), [POINT])


def cat(scores: Tensor) -> np.ndarray:
    """Return the photograph, dark where scores (1, 2, 300, 451) do not say that there is the cat."""
    pixels = rgb(crop(photo()))
    return np.where(crop(scores)[0].argmax(0).numpy()[..., None] > 0, pixels, pixels // 4)


def at_point(values: Tensor) -> Tensor:
    """Return what maps (1, K, 165, 165) hold at the marked point."""
    return values[0, :, POINT[0], POINT[1]]


def distances(of: Tensor) -> Tensor:
    """Return the distances of all windows of the crop."""
    return segaware.embedding_distance(crop(of), WINDOW, padding="same")
