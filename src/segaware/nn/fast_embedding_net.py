"""An embedding network for everyday use: the paper's layers at half the size, colours where borders must be sharp."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.nn.bundled import BundledEmbedding
from segaware.nn.embedding import ColorChannels
from segaware.nn.embedding_net import VGGScales
from segaware.nn.resampling import at_stride

_FINEST = 2  # stride of the image that the layers see


class FastEmbeddingNet(VGGScales, BundledEmbedding):
    """Give every pixel an embedding whose distances tell regions apart, at a fraction of `EmbeddingNet`'s time.

    The same seven convolutions see the image at half its size, and half of their channels are left: that is a quarter
    of a quarter of the work, and twice the sight. Each scale is mapped by a 1x1 convolution, and their sum is the
    learned part. It changes over a few pixels where a border is, as it was upsampled; so the colours stand beside it
    with scales that were learned, and a distance changes from one pixel to the next. `segaware.nn.prune_embedding`
    makes such a network from an `EmbeddingNet`.

    Args:
        width: Factor on the channels of the convolutions; 1 is VGG's.
        dim: Learned channels; the embedding has three more, for colours.

    Raises:
        ValueError: If an argument is out of range; the message names it.

    Example:
        >>> from segaware.nn import FastEmbeddingNet
        >>> net = FastEmbeddingNet(width=0.125, dim=4)
        >>> net(torch.rand(1, 3, 50, 70)).shape, net(torch.rand(1, 3, 50, 70), stride=2).shape
        (torch.Size([1, 7, 50, 70]), torch.Size([1, 7, 25, 35]))
    """

    bundled = "fast"
    colors = 3
    receptive_radius = _FINEST * VGGScales.receptive_radius + 2  # the blur before, the upsampling after
    max_stride = _FINEST * VGGScales.max_stride

    blur: Tensor

    def __init__(self, width: float = 0.5, dim: int = 16) -> None:
        super().__init__(width, dim)
        self.heads = nn.ModuleList(nn.Conv2d(channels, self.dim, 1) for channels in self.widths)
        # Unrelated pixels start about as far apart as the pair loss wants regions to be; see `EmbeddingNet`.
        deviation = math.sqrt(math.pi) / self.dim
        for head in self.heads:
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            nn.init.normal_(head.weight, std=deviation / math.sqrt(len(self.heads) * head.in_channels))
            nn.init.zeros_(head.bias)
        self.dim += self.colors
        self.color = ColorChannels()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("blur", torch.outer(row, row).expand(3, 1, 3, 3).clone(), persistent=False)

    def halved(self, image: Tensor) -> Tensor:
        """Return images (N, 3, H, W), normalised and slightly blurred, at the pixels `[::2, ::2]`."""
        padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
        return self.normalize(F.conv2d(padded, self.blur, stride=_FINEST, groups=3))

    def embed(self, image: Tensor, stride: int) -> Tensor:
        """Return colours and learned channels of every `stride`-th pixel."""
        # What is coarser is upsampled to stride 2 first, which all scales then leave together.
        first, *others = [
            at_stride(head(features), _FINEST * 2**scale, _FINEST, image)
            for scale, (head, features) in enumerate(zip(self.heads, self._features(self.halved(image)), strict=True))
        ]
        return self.color(image, at_stride(sum(others, first), _FINEST, stride, image), stride)

    def _last_layers(self) -> nn.ModuleList:
        """Return the layers that map the scales."""
        return self.heads

    @torch.no_grad()
    def calibrate(self, image: Tensor) -> None:
        """Scale the learned channels so that pixels of images (N, 3, H, W) that are far apart differ by 1 on average.

        Args:
            image: RGB (N, 3, H, W) in 0..1, such as a batch of the training.
        """
        learned = self(image, _FINEST)[:, self.colors :]
        half = learned.shape[-1] // 2
        distance = (learned[..., :half] - learned[..., -half:]).abs().sum(1).mean().clamp(min=1e-12)
        self.rescale(1 / float(distance), 1.0)
