"""Flat layers that move: two images of them, the exact flow between the two, and what the second does not show."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segaware.data.flow.sample import FlowSample


class Layer(NamedTuple):
    """A textured cut-out and where it is in both images.

    Maps are homogeneous, (3, 3), on columns (x, y, 1) of pixels, whose centres are whole numbers.

    Attributes:
        texture: float32 RGBA (4, h, w) in 0..1, h and w at least 2. It is transparent beyond its border.
        pose: Affine map from the texture to the first image.
        motion: Affine map from the first image to the second.
    """

    texture: Tensor
    pose: np.ndarray
    motion: np.ndarray

    @property
    def next_pose(self) -> np.ndarray:
        """Affine map from the texture to the second image."""
        return self.motion @ self.pose


def render_pair(background: Layer, objects: Sequence[Layer], size: tuple[int, int], name: str) -> FlowSample:
    """Render two images of layers, with exact flow and occlusion.

    Both images sample every texture bilinearly. They blend layers by alpha, while labels are hard: a pixel of the first
    image moves with the topmost layer whose alpha there is above one half. It is occluded if the point it moves to is
    outside the second image, or if the alpha of a layer above its own is above one half at that very point.

    Args:
        background: The lowest layer; its alpha is ignored, and beyond its border it goes on mirrored.
        objects: Layers from the lowest to the topmost.
        size: (height, width) of the images in pixels.
        name: Name of the sample.

    Returns:
        The sample, `valid` everywhere.

    Example:
        >>> still, right = np.eye(3), np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]])
        >>> ground, square = torch.rand(4, 8, 8), torch.ones(4, 3, 3)
        >>> sample = render_pair(Layer(ground, still, still), [Layer(square, still, right)], (8, 8), "square")
        >>> sample.flow[0, 1].tolist()  # u along a row that meets the square
        [2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        >>> sample.occluded[1].int().tolist()
        [0, 0, 0, 1, 1, 0, 0, 0]
    """
    layers = [background, *objects]
    image1, top = compose(layers, [layer.pose for layer in layers], size)
    image2, _ = compose(layers, [layer.next_pose for layer in layers], size)
    x, y = _grid(0, 0, *size)
    displacement = torch.tensor(np.stack([(layer.motion - np.eye(3))[:2].T.ravel() for layer in layers], axis=1))
    # index_select is five times as fast as [:, top]
    a, b, c = displacement.float().index_select(1, top.flatten()).view(3, 2, *size)  # u and v are a x + b y + c
    flow = a * x + b * y + c
    occluded = _occluded(objects, top, x + flow[0], y + flow[1])
    return FlowSample(image1, image2, flow, torch.ones(size, dtype=torch.bool), occluded, name)


def compose(layers: Sequence[Layer], poses: Sequence[np.ndarray], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Render one image of layers, with the layer that each pixel belongs to.

    Args:
        layers: Layers from the background to the topmost, as `render_pair` takes them.
        poses: Affine map from the texture of each to the image.
        size: (height, width) of the image in pixels.

    Returns:
        The image, float32 RGB (3, H, W), and the index of each pixel's topmost layer whose alpha there is above one
        half, int64 (H, W), 0 for the background.

    Example:
        >>> still, below = np.eye(3), np.array([[1.0, 0, 0], [0, 1, 2], [0, 0, 1]])
        >>> ground, square = (Layer(torch.ones(4, side, side), still, still) for side in (4, 2))
        >>> compose([ground, square], [still, below], (4, 3))[1].tolist()
        [[0, 0, 0], [0, 0, 0], [1, 1, 0], [1, 1, 0]]
    """
    image = _sample(layers[0].texture[:3], poses[0], *_grid(0, 0, *size), padding_mode="reflection")
    top = torch.zeros(size, dtype=torch.int64)
    for index, (layer, pose) in enumerate(zip(layers, poses, strict=True)):
        x0, y0, x1, y1 = _box(layer.texture, pose)
        left, above, right, below = max(0, x0), max(0, y0), min(size[1], x1), min(size[0], y1)
        if index == 0 or left >= right or above >= below:
            continue
        rgba = _sample(layer.texture, pose, *_grid(above, left, below, right))
        image[:, above:below, left:right].lerp_(rgba[:3], rgba[3:])
        top[above:below, left:right][rgba[3] > 0.5] = index
    return image.clamp_(0, 1), top  # the weights of sampling may add up to 1.0000001


def _occluded(objects: Sequence[Layer], top: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return which points (x, y) of the second image, of pixels that belong to layer `top`, are outside or covered."""
    occluded = (x < 0) | (y < 0) | (x > x.shape[1] - 1) | (y > x.shape[0] - 1)
    for index, layer in enumerate(objects, 1):
        pose = layer.next_pose
        x0, y0, x1, y1 = _box(layer.texture, pose)
        near = ((top < index) & (x > x0) & (x < x1) & (y > y0) & (y < y1)).flatten().nonzero().T
        if near.numel():
            alpha = _sample(layer.texture[3:], pose, x.take(near), y.take(near))
            occluded.view(-1)[near] |= alpha[0] > 0.5
    return occluded


def _grid(above: int, left: int, below: int, right: int) -> tuple[Tensor, Tensor]:
    """Return x (1, w) and y (h, 1) of the pixels of a window."""
    return torch.arange(float(left), right)[None], torch.arange(float(above), below)[:, None]


def _box(texture: Tensor, pose: np.ndarray) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of whole pixels around a texture in a pose, the last two past the end."""
    height, width = texture.shape[1:]
    corners = pose[:2] @ np.array([[-1, width, -1, width], [-1, -1, height, height], [1, 1, 1, 1]])
    (x0, y0), (x1, y1) = np.floor(corners.min(1)).astype(int), np.ceil(corners.max(1)).astype(int) + 1
    return x0, y0, x1, y1


def _sample(texture: Tensor, pose: np.ndarray, x: Tensor, y: Tensor, padding_mode: str = "zeros") -> Tensor:
    """Return a texture (C, h, w) in a pose at points of the image whose coordinates broadcast to (H, W): (C, H, W)."""
    to_texture = np.linalg.inv(pose)
    height, width = texture.shape[1:]
    # grid_sample wants -1 and 1 at the centres of the outermost pixels
    (a, b, c), (d, e, f) = np.diag([2 / (width - 1), 2 / (height - 1)]) @ to_texture[:2] - [[0, 0, 1], [0, 0, 1]]
    grid = torch.empty(*np.broadcast_shapes(x.shape, y.shape), 2)
    torch.add(a * x + c, b * y, out=grid[..., 0])
    torch.add(d * x + f, e * y, out=grid[..., 1])
    return F.grid_sample(texture[None], grid[None], padding_mode=padding_mode, align_corners=True)[0]
