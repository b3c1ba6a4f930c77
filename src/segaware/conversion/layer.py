"""The convolution that takes the place of a plain one, and finds the image's embedding by itself."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from segaware.conversion.call import current_call
from segaware.nn import SegAwareConv2d
from segaware.nn.hardness import hardness_parameter


class ConvertedConv2d(SegAwareConv2d):
    """A `SegAwareConv2d` inside a converted network, called as the `Conv2d` it was.

    It is made from one by `become_segaware`. Its distances are those of the image that the network has been called
    with, sampled at the pixels of its input.
    """

    name: str

    def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]
        """Convolve `input` (N, C, H, W) under the mask of the image's embedding, sampled at its size.

        Raises:
            RuntimeError: If it is called outside the converted network.
            ValueError: If the embedding is smaller than `input`, or of another batch.
        """
        return super().forward(input, distance=current_call(self.name).distance(self, self.name, input))


def become_segaware(layer: nn.Conv2d, name: str, hardness: float) -> None:
    """Turn a convolution into a segmentation-aware one in place.

    The object stays, and with it its parameters, hooks, and all places in the network that share it.
    """
    start = hardness_parameter(hardness, layer.weight.device)
    layer.__class__ = ConvertedConv2d
    converted = cast(ConvertedConv2d, layer)
    converted.hardness = start
    converted.normalize = "mean"
    converted.name = name


def become_plain(layer: ConvertedConv2d) -> None:
    """Turn a segmentation-aware convolution into the plain one it was, with its weights as they are now."""
    del layer.hardness, layer.normalize, layer.name
    layer.__class__ = nn.Conv2d  # type: ignore[assignment]
