"""The network that embeds pixels (Sec. 4.1 and Fig. 5 of Harley et al. 2017)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.nn.bundled import BundledEmbedding
from segaware.nn.embedding import ColorChannels, Embedding
from segaware.nn.resampling import at_stride
from segaware.nn.vgg_weights import NormalizeImage, check_width, load_vgg_weights
from segaware.ops.arguments import as_integer, check_integer

# Layers of each scale and their width: the first seven convolutions of VGG-16.
SCALES = ((("conv1_1", "conv1_2"), 64), (("conv2_1", "conv2_2"), 128), (("conv3_1", "conv3_2", "conv3_3"), 256))
_LARGEST_DIM = 2**14  # beyond sense: 4 GB of embeddings for 256x256 pixels


class VGGScales(Embedding):
    """The first seven convolutions of VGG-16, whose last features at strides 1, 2 and 4 embedding networks see.

    Args:
        width: Factor on the channels of the convolutions; 1 is VGG's.
        dim: Embedding channels, E.
    """

    receptive_radius = 24
    max_stride = 4

    def __init__(self, width: float, dim: int) -> None:
        super().__init__()
        check_width(width)
        if as_integer(dim) is not None and dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        self.dim = check_integer("dim", dim, 1, _LARGEST_DIM)
        self.normalize = NormalizeImage()
        self.widths = [int(full_width * width) for _, full_width in SCALES]
        channels = 3
        for (names, _), scale_width in zip(SCALES, self.widths, strict=True):
            for name in names:
                self.add_module(name, nn.Conv2d(channels, scale_width, 3, padding=1))
                channels = scale_width

    def conv(self, name: str) -> nn.Conv2d:
        """Return a convolution by its name, such as conv3_1."""
        return cast(nn.Conv2d, self.get_submodule(name))

    def _features(self, x: Tensor) -> list[Tensor]:
        """Return the features of normalised images at strides 1, 2 and 4."""
        features = []
        for scale, (names, _) in enumerate(SCALES):
            if scale:
                # 3x3 pooling with padding 1 keeps pixel i of the output on pixel 2i of the input, for any input size.
                x = F.max_pool2d(x, 3, stride=2, padding=1)
            for name in names:
                x = F.relu(self.conv(name)(x), inplace=True)
            features.append(x)
        return features


class EmbeddingNet(VGGScales, BundledEmbedding):
    """Give every pixel an embedding whose distances tell regions apart.

    Seven 3x3 convolutions as in VGG-16, halved in resolution after the second and the fourth. A 1x1 convolution turns
    the last features of each of the three scales into an embedding, which has its own loss in training; the three are
    upsampled, concatenated and fused by a 1x1 convolution. Beside what was upsampled, the colours by learned scales can
    keep a border sharp to the pixel, as colours do in the authors' release.

    Args:
        width: Factor on the channels of the convolutions; 1 is VGG's.
        dim: Learned channels.
        color: Whether colours stand beside them, as three more channels of the embedding. The paper's network has none.

    Example:
        >>> net = EmbeddingNet(width=0.25, dim=16)
        >>> net(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 16, 50, 70])
    """

    bundled = "vgg"
    feature_rms: Tensor

    def __init__(self, width: float = 1.0, dim: int = 64, color: bool = False) -> None:
        super().__init__(width, dim)
        dim = self.dim
        self.color = ColorChannels() if color else None
        if color:
            self.colors = 3
            self.dim += 3
        for scale, channels in enumerate(self.widths, start=1):
            self.add_module(f"head{scale}", nn.Conv2d(channels, dim, 1))
        self.fuse = nn.Conv2d(len(SCALES) * dim, dim, 1)
        self.register_buffer("feature_rms", torch.ones(len(SCALES)))
        self._initialize()

    def _initialize(self) -> None:
        for names, _ in SCALES:
            for name in names:
                nn.init.kaiming_normal_(self.conv(name).weight, nonlinearity="relu")
        # Channels of standard deviation s differ by 2 s / sqrt(pi) on average between unrelated pixels. Start the L1
        # distance of all channels at up to 2, the far threshold of the pair loss.
        deviation = math.sqrt(math.pi) / self.fuse.out_channels
        for name in ("head1", "head2", "head3"):
            head = self.conv(name)
            nn.init.normal_(head.weight, std=deviation / math.sqrt(head.in_channels))
        nn.init.normal_(self.fuse.weight, std=1 / math.sqrt(self.fuse.in_channels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def load_vgg(self, path: str | Path) -> list[str]:
        """Load the seven convolutions from a file of ImageNet VGG weights; see `segaware.nn.read_vgg_weights`.

        Call `calibrate` afterwards. Returns the names of the loaded layers.

        Args:
            path: The file.
        """
        return load_vgg_weights(self, path)

    @classmethod
    def _of_shapes(cls, tensors: dict[str, Tensor]) -> EmbeddingNet:
        # The width was rounded down to the channels of the widest scale, which leaves as many in the others.
        return cls(len(tensors["conv3_1.bias"]) / 256, len(tensors["fuse.bias"]))

    @torch.no_grad()
    def copy_from(self, other: EmbeddingNet) -> None:
        """Copy the weights of a network of the same width and channels, with colours or without.

        Where this network has colours and the other none, what was learned is halved: the colours' distances are added
        to its own, and hardness 1 is to mean the same as before.

        Args:
            other: The other network.

        Raises:
            ValueError: If the networks do not have the same channels, or the other one has colours and this one none.
        """
        ours, theirs = ([*net.widths, net.fuse.out_channels] for net in (self, other))
        if ours != theirs or (self.color is None and other.color is not None):
            raise ValueError(
                f"other must have the channels of this network, {ours} and {self.colors} colours, got {theirs} and "
                f"{other.colors}"
            )
        tensors = other.state_dict()
        if self.color is not None and other.color is None:
            for name in ("fuse.weight", "fuse.bias"):
                tensors[name] = tensors[name] / 2
            tensors.update(self.color.state_dict(prefix="color."))
        self.load_state_dict(tensors)

    def _last_layers(self) -> list[nn.Module]:
        """Return the layer that fuses the scales."""
        return [self.fuse]

    @torch.no_grad()
    def calibrate(self, image: Tensor) -> None:
        """Measure the size of the three scales' features on images (N, 3, H, W) and divide by it from now on.

        VGG's features are tens to hundreds, and an embedding head on top of them would start with distances far beyond
        the thresholds of the loss. The measured sizes are part of the `state_dict`.

        Args:
            image: RGB (N, 3, H, W) in 0..1, such as a batch of the training.
        """
        features = self._features(self.normalize(image))
        self.feature_rms.copy_(torch.stack([f.square().mean().sqrt().clamp(min=1e-12) for f in features]))

    def forward_scales(self, image: Tensor, stride: int = 1) -> tuple[Tensor, list[Tensor]]:
        """Return the embedding at a stride, and the three scales' own, at strides 1, 2 and 4."""
        features = zip(self._features(self.normalize(image)), self.feature_rms, strict=True)
        scales = [self.conv(f"head{s}")(x / rms) for s, (x, rms) in enumerate(features, start=1)]
        # A 1x1 convolution of what was upsampled and concatenated is the sum of its parts, which are cheaper before.
        fused = self.fuse.bias[:, None, None]  # type: ignore[index]
        for s, (scale, weight) in enumerate(zip(scales, self.fuse.weight.chunk(len(scales), dim=1), strict=True)):
            fused = fused + at_stride(F.conv2d(scale, weight), 2**s, stride, image)
        return fused if self.color is None else self.color(image, fused, stride), scales

    def embed(self, image: Tensor, stride: int) -> Tensor:
        """Return the embeddings of every `stride`-th pixel."""
        return self.forward_scales(image, stride)[0]


class ReleasedEmbedding(VGGScales):
    """The embedding network of the authors' released models, for their weights: see `segaware.models.load_caffe`.

    Colours and the last features of each of the three scales are concatenated at the image's resolution and mapped by
    one 1x1 convolution. `EmbeddingNet`, as the paper has it, embeds every scale before it fuses them.

    Args:
        width: Factor on the channels of the convolutions; 1 is the release's.
        dim: Embedding channels, E.

    Example:
        >>> from segaware.nn import ReleasedEmbedding
        >>> ReleasedEmbedding(width=0.25, dim=16)(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 16, 50, 70])
    """

    def __init__(self, width: float = 1.0, dim: int = 64) -> None:
        super().__init__(width, dim)
        self.fuse = nn.Conv2d(3 + sum(self.widths), dim, 1)

    def embed(self, image: Tensor, stride: int) -> Tensor:
        """Return the embeddings of every `stride`-th pixel."""
        x = self.normalize(image)
        features = [at_stride(f, 2**s, stride, image) for s, f in enumerate(self._features(x))]
        return self.fuse(torch.cat([x[..., ::stride, ::stride], *features], dim=1))
