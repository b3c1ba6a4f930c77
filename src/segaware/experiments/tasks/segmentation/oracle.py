"""Embeddings that are told the labels: their masks are true, and show the most that masks could do."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from segaware.data import Sample
from segaware.models import DeepLab
from segaware.nn import Embedding
from segaware.nn.vgg_weights import NormalizeImage


class LabelEmbedding(Embedding):
    """A pixel's class as its embedding: L1 distances are 2 between classes, 0 within one, and 1 to void pixels.

    Args:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.dim = num_classes

    def forward(self, image: Tensor, stride: int = 1) -> Tensor:
        """Return the embeddings (N, C, ceil(H / stride), ceil(W / stride)) of images as `WithLabels` gives them.

        Raises:
            ValueError: If `image` has no labels.
        """
        if image.ndim != 4 or image.shape[1] != 4:
            raise ValueError(f"image must be colours and labels (N, 4, H, W), got {tuple(image.shape)}")
        label = image[:, 3, ::stride, ::stride].long()
        return F.one_hot(label.clamp(max=self.dim), self.dim + 1)[..., : self.dim].movedim(-1, 1).to(image.dtype)


class WithLabels(Dataset[Sample]):
    """A data set whose images have their labels as a fourth channel."""

    def __init__(self, samples: Dataset[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Sample:
        """Return an image (4, H, W) with its labels."""
        sample = self.samples[index]
        return sample._replace(image=torch.cat([sample.image, sample.label[None].to(sample.image.dtype)]))


class _NormalizeColors(NormalizeImage):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image[:, :3])


def tell_labels(network: DeepLab) -> DeepLab:
    """Return a network for images as `WithLabels` gives them, of which its convolutions see the colours alone."""
    network.normalize = _NormalizeColors()
    return network
