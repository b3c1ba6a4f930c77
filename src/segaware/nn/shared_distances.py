"""Embedding distances computed once and shared by the layers of a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from segaware.nn.bilateral_filter import BilateralFilter2d
from segaware.nn.embedding import Embedding
from segaware.nn.resampling import same_length, sample
from segaware.nn.segaware_conv import SegAwareConv2d
from segaware.nn.segaware_crf import SegAwareCRF


class SharedDistances:
    """The embedding of one forward pass, sampled at any stride, and the distances that layers have asked for.

    A layer at stride s of the image sees the full-resolution embedding sampled at its own positions, `[::s, ::s]`.
    Layers with the same resolution and window get the same tensor: distances are computed once, hardness is per layer.

    Args:
        embedding: One embedding per image pixel, (N, E, H, W).
        stride: Of the embedding to the image: 2 if it has been sampled `[::2, ::2]` already. Layers then have strides
            that it divides.

    Example:
        >>> shared = SharedDistances(torch.randn(1, 16, 65, 65))
        >>> first, second = SegAwareConv2d(3, 8, 3, padding=1), SegAwareConv2d(8, 8, 3, padding=1)
        >>> shared(first, stride=2) is shared(second, stride=2)
        True
    """

    def __init__(self, embedding: Tensor, stride: int = 1) -> None:
        self.embedding = embedding
        self.stride = stride
        self._sizes: list[tuple[int, int]] = []
        self._distances: dict[tuple[object, ...], Tensor] = {}

    @classmethod
    def of_image(cls, network: nn.Module, image: Tensor, stride: int) -> SharedDistances:
        """Return the distances of an image's embedding, for layers whose strides a stride divides.

        Args:
            network: An `Embedding`, which computes nothing finer than the stride; or any other module that embeds the
                pixels of images.
            image: RGB (N, 3, H, W) in 0..1.
            stride: The finest that layers need.
        """
        return cls(network(image, stride), stride) if isinstance(network, Embedding) else cls(network(image))

    def __call__(self, layer: nn.Module, stride: int) -> Tensor:
        """Return the distances of the window of `layer`, whose input has the given stride to the image."""
        if stride % self.stride:
            raise ValueError(f"stride must be a multiple of the embedding's, {self.stride}, got {stride}")
        step = stride // self.stride
        return self._distance(layer, step, lambda: self.embedding[:, :, ::step, ::step])

    def at_size(self, layer: nn.Module, size: tuple[int, int]) -> Tensor:
        """Return the distances of the window of `layer`, whose input shows the image at a (height, width).

        See `segaware.nn.resampling.sample` for the pixels of a layer that has no stride to the image.

        Args:
            layer: A segmentation-aware convolution, filter or CRF.
            size: Height and width of its input.
        """
        return self._distance(layer, ("size", self._number(size)), lambda: sample(self.embedding, size))

    def _number(self, size: tuple[int, int]) -> int:
        """Return the place of a size in the list of those that were asked for: its symbols may be no keys."""
        for number, (height, width) in enumerate(self._sizes):
            if same_length(height, size[0]) and same_length(width, size[1]):
                return number
        self._sizes.append(size)
        return len(self._sizes) - 1

    def _distance(self, layer: nn.Module, place: object, embedding: Callable[[], Tensor]) -> Tensor:
        if not isinstance(layer, (SegAwareConv2d, BilateralFilter2d, SegAwareCRF)):
            raise TypeError(
                f"layer must be a SegAwareConv2d, a BilateralFilter2d or a SegAwareCRF, got {type(layer).__name__}"
            )
        steps = (layer.stride, layer.padding) if isinstance(layer, SegAwareConv2d) else ("same",)
        metric = layer.metric if isinstance(layer, SegAwareCRF) else "l1"
        # Distances from a part of a network that records no gradients are not for one that does.
        key = (place, layer.kernel_size, layer.dilation, metric, *steps, torch.is_grad_enabled())
        if key not in self._distances:
            self._distances[key] = layer.distance(embedding())
        return self._distances[key]


def convolve(layer: nn.Conv2d, input: Tensor, stride: int, shared: SharedDistances | None) -> Tensor:
    """Apply a convolution, segmentation-aware or plain, to an input of the given stride to the image."""
    if isinstance(layer, SegAwareConv2d):
        assert shared is not None
        return layer(input, distance=shared(layer, stride))
    return layer(input)
