"""An embedding network for everyday use: heavy layers where they are cheap, colours where borders must be sharp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.nn.bundled import BundledEmbedding
from segaware.nn.embedding import ColorChannels, check_widths
from segaware.nn.resampling import at_stride, upsample
from segaware.ops.arguments import check_integer

_FINEST = 2  # stride of the first scale


class Residual(nn.Module):
    """Two 3x3 convolutions beside a connection past them; at the start they add nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class FastEmbeddingNet(BundledEmbedding):
    """Give every pixel an embedding whose distances tell regions apart, in a few per cent of `EmbeddingNet`'s time.

    Features are computed at strides 2, 4, 8 and 16 and brought back to stride 2, each scale added to the next finer
    one; what follows them at stride 1 is an upsampling. Such features change over a few pixels where a border is, so
    the colours stand beside them with scales that were learned: their distance changes from one pixel to the next.

    Args:
        widths: Channels at strides 2, 4, 8, ..., one for every scale.
        blocks: Residual blocks at every scale.
        dim: Learned channels; the embedding has three more, for colours.

    Raises:
        ValueError: If an argument is out of range; the message names it.

    Example:
        >>> from segaware.nn import FastEmbeddingNet
        >>> net = FastEmbeddingNet(widths=(8, 16), blocks=(1, 1), dim=4)
        >>> net(torch.rand(1, 3, 50, 70)).shape, net(torch.rand(1, 3, 50, 70), stride=2).shape
        (torch.Size([1, 7, 50, 70]), torch.Size([1, 7, 25, 35]))
    """

    bundled = "fast"
    colors = 3

    def __init__(
        self, widths: Sequence[int] = (16, 32, 64, 96), blocks: Sequence[int] = (1, 1, 1, 2), dim: int = 16
    ) -> None:
        super().__init__()
        widths = check_widths(widths)
        if len(blocks) != len(widths):
            raise ValueError(f"blocks must be {len(widths)} numbers, one for every width, got {blocks!r}")
        blocks = [check_integer("blocks", number, 0, 64) for number in blocks]
        learned = check_integer("dim", dim, 1, 2**14)
        self.dim = self.colors + learned
        self.stem = nn.Conv2d(3, widths[0], 3, stride=_FINEST, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.encoders = nn.ModuleList(
            nn.Sequential(*(Residual(width) for _ in range(number)))
            for width, number in zip(widths, blocks, strict=True)
        )
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], learned, 1)
        self.color = ColorChannels()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Residual):
                nn.init.zeros_(module.second.weight)
        # Unrelated pixels start about as far apart as the pair loss wants regions to be; see `EmbeddingNet`.
        nn.init.normal_(self.head.weight, std=math.sqrt(math.pi / widths[0]) / learned)
        self.max_stride = _FINEST * 2 ** (len(widths) - 1)
        # A 3x3 convolution sees one pixel of its scale further, an upsampling up to one of the coarser scale.
        strides = [_FINEST * 2**scale for scale in range(len(widths))]
        self.receptive_radius = (
            1
            + sum(2 * number * stride for number, stride in zip(blocks, strides, strict=True))
            + sum(fine + coarse + fine for fine, coarse in pairwise(strides))  # down, upsampling, decoder
            + _FINEST
        )

    def embed(self, image: Tensor, stride: int) -> Tensor:
        """Return colours and learned channels of every `stride`-th pixel."""
        x = F.relu(self.stem(4 * image - 2))
        features: list[Tensor] = []
        for scale, encoder in enumerate(self.encoders):
            if scale:
                x = F.relu(self.down[scale - 1](x))
            x = encoder(x)
            features.append(x)
        for scale in reversed(range(len(self.up))):
            finer = features[scale]
            x = upsample(self.up[scale](x), 2, (finer.shape[-2], finer.shape[-1])) + finer
            x = F.relu(self.decoders[scale](x))
        learned = at_stride(self.head(x), _FINEST, stride, image)
        return self.color(image, learned, stride)

    @torch.no_grad()
    def calibrate(self, image: Tensor) -> None:
        """Scale the learned channels so that pixels of images (N, 3, H, W) that are far apart differ by 1 on average.

        Args:
            image: RGB (N, 3, H, W) in 0..1, such as a batch of the training.
        """
        learned = self(image, _FINEST)[:, self.colors :]
        half = learned.shape[-1] // 2
        distance = (learned[..., :half] - learned[..., -half:]).abs().sum(1).mean().clamp(min=1e-12)
        self.head.weight /= distance
        assert self.head.bias is not None
        self.head.bias /= distance
