"""What all networks that embed pixels have in common, and the simplest of them: the colour of a pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segaware.nn.hub import Configured
from segaware.ops.arguments import as_integer, check_rgb, is_number


class Embedding(Configured):
    """Give pixels embeddings whose L1 distances tell regions apart: the contract that all of segaware relies on.

    A subclass sets the attributes and implements `embed`. Whatever only needs an embedding at a stride, such as a
    filter of coarse scores, asks for that, and the network computes no more than it must.

    Attributes:
        dim: Embedding channels, E.
        colors: How many of them, the first, are colours.
        receptive_radius: How many pixels away an embedding still sees the image. NaN may reach a few
            further, as it stays NaN with a weight of 0.
        max_stride: An image may be cut at its multiples without moving pixels in a layer with a stride. With these two,
            an image in overlapping tiles has the embedding of the whole.
    """

    dim: int
    colors: int = 0
    receptive_radius: int = 0
    max_stride: int = 1

    def embed(self, image: Tensor, stride: int) -> Tensor:
        """Return the embeddings of every `stride`-th pixel of images that were checked; see `forward`."""
        raise NotImplementedError

    def forward(self, image: Tensor, stride: int = 1) -> Tensor:
        """Embed the pixels of images.

        Args:
            image: RGB images in 0..1, (N, 3, H, W), any size.
            stride: 1 embeds every pixel, s the pixels `[::s, ::s]`.

        Returns:
            Embeddings (N, E, ceil(H / stride), ceil(W / stride)).

        Raises:
            ValueError: If `image` is not floating-point RGB, or `stride` is no int of at least 1.
            TypeError: If `image` is no tensor.
        """
        check_rgb("image", image)
        checked = as_integer(stride)
        if checked is None or checked < 1:
            raise ValueError(f"stride must be an int of at least 1, got {stride!r}")
        return self.embed(image, checked)


class ColorEmbedding(Embedding):
    """A pixel's colour as its embedding: what a classic bilateral filter compares, and what learning must beat.

    Args:
        scale: Factor on colours in 0..1; with 10, hardness 1 lets weights fall to 1/e at a summed difference of 0.1.

    Example:
        >>> ColorEmbedding()(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 3, 50, 70])
    """

    dim = colors = 3

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        if not is_number(scale):
            raise ValueError(f"scale must be a finite number, got {scale!r}")
        self.scale = scale

    def embed(self, image: Tensor, stride: int) -> Tensor:
        """Return the scaled colours."""
        return image[..., ::stride, ::stride] * self.scale


class ColorChannels(nn.Module):
    """Colours by learned scales, to stand beside features that were upsampled: a border is sharp to the pixel in them.

    Args:
        scale: Start value of the factors on red, green and blue in 0..1.
    """

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), scale))

    def forward(self, image: Tensor, features: Tensor, stride: int) -> Tensor:
        """Return the colours of every `stride`-th pixel and the features there, (N, 3 + E, h, w)."""
        return torch.cat([image[..., ::stride, ::stride] * self.scale[:, None, None], features], dim=1)
