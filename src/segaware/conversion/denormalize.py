"""Images that were normalised for a network, as an embedding network wants them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segaware.constants import IMAGENET_MEAN, IMAGENET_STD


class Denormalize(nn.Module):
    """Undo the normalisation of images, so that they are RGB in 0..1 again.

    Most networks are given `(image - mean) / std`, while an `EmbeddingNet` wants the image: put this in front of it.

    Args:
        mean: What was subtracted from each channel; by default ImageNet's, as torchvision and timm do.
        std: What it was divided by.

    Raises:
        ValueError: If they are not as many, or a deviation is not positive.

    Example:
        >>> embedding = torch.nn.Sequential(Denormalize(), EmbeddingNet(0.25, dim=8))
        >>> embedding(torch.randn(1, 3, 20, 30)).shape
        torch.Size([1, 8, 20, 30])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"mean and std must have as many numbers, those of std above 0, got {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the images (N, C, H, W) as they were before `(image - mean) / std`."""
        return image * self.std + self.mean
