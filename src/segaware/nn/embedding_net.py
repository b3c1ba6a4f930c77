"""The network that embeds pixels (Sec. 4.1 and Fig. 5 of Harley et al. 2017)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.nn.hub import METADATA, Configured, Pretrained
from segaware.nn.resampling import upsample
from segaware.nn.vgg_weights import NormalizeImage, check_width, load_vgg_weights
from segaware.ops.arguments import as_integer, check_integer, check_rgb, is_number

# Layers of each scale and their width: the first seven convolutions of VGG-16.
_SCALES = ((("conv1_1", "conv1_2"), 64), (("conv2_1", "conv2_2"), 128), (("conv3_1", "conv3_2", "conv3_3"), 256))
_LARGEST_DIM = 2**14  # beyond sense: 4 GB of embeddings for 256x256 pixels


class VGGScales(nn.Module):
    """The first seven convolutions of VGG-16, whose last features at strides 1, 2 and 4 embedding networks see.

    Args:
        width: Factor on the channels of the convolutions; 1 is VGG's.
        dim: Embedding channels, E.
    """

    def __init__(self, width: float, dim: int) -> None:
        super().__init__()
        check_width(width)
        if as_integer(dim) is not None and dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        self.dim = check_integer("dim", dim, 1, _LARGEST_DIM)
        self.normalize = NormalizeImage()
        self.widths = [int(full_width * width) for _, full_width in _SCALES]
        channels = 3
        for (names, _), scale_width in zip(_SCALES, self.widths, strict=True):
            for name in names:
                self.add_module(name, nn.Conv2d(channels, scale_width, 3, padding=1))
                channels = scale_width

    def _conv(self, name: str) -> nn.Conv2d:
        return cast(nn.Conv2d, self.get_submodule(name))

    def _features(self, x: Tensor) -> list[Tensor]:
        """Return the features of normalised images at strides 1, 2 and 4."""
        features = []
        for scale, (names, _) in enumerate(_SCALES):
            if scale:
                # 3x3 pooling with padding 1 keeps pixel i of the output on pixel 2i of the input, for any input size.
                x = F.max_pool2d(x, 3, stride=2, padding=1)
            for name in names:
                x = F.relu(self._conv(name)(x))
            features.append(x)
        return features


class EmbeddingNet(VGGScales, Pretrained):
    """Give every pixel an embedding whose distances tell regions apart.

    Seven 3x3 convolutions as in VGG-16, halved in resolution after the second and the fourth. A 1x1 convolution turns
    the last features of each of the three scales into an embedding, which has its own loss in training; the three are
    upsampled, concatenated and fused by a 1x1 convolution.

    Args:
        width: Factor on the channels of the convolutions; 1 is VGG's.
        dim: Embedding channels, E.

    Example:
        >>> net = EmbeddingNet(width=0.25, dim=16)
        >>> net(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 16, 50, 70])
    """

    receptive_radius = 24  # how many pixels away an embedding still sees the image
    max_stride = 4  # an image may be cut at its multiples without moving pixels in a pooled layer

    feature_rms: Tensor

    def __init__(self, width: float = 1.0, dim: int = 64) -> None:
        super().__init__(width, dim)
        dim = self.dim
        for scale, channels in enumerate(self.widths, start=1):
            self.add_module(f"head{scale}", nn.Conv2d(channels, dim, 1))
        self.fuse = nn.Conv2d(len(_SCALES) * dim, dim, 1)
        self.register_buffer("feature_rms", torch.ones(len(_SCALES)))
        self._initialize()

    def _initialize(self) -> None:
        for names, _ in _SCALES:
            for name in names:
                nn.init.kaiming_normal_(self._conv(name).weight, nonlinearity="relu")
        # Channels of standard deviation s differ by 2 s / sqrt(pi) on average between unrelated pixels. Start the L1
        # distance of all channels at up to 2, the far threshold of the pair loss.
        deviation = math.sqrt(math.pi) / self.dim
        for name in ("head1", "head2", "head3"):
            head = self._conv(name)
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
    def from_pretrained(cls, path: str | Path | None = None, revision: str | None = None) -> EmbeddingNet:
        """Return a trained network, ready to embed photographs.

        Args:
            path: A .safetensors file of an embedding network, such as `segaware train` writes for an embedding recipe;
                it, or else the shapes in it, tells `width` and `dim`. Or a folder that `save_pretrained` wrote, or the
                name of a repository on the Hugging Face Hub, "owner/name". None takes the weights that come with
                segaware, whose model card is `segaware/weights/README.md`; they need no network connection.
            revision: Branch, tag or commit of a repository.

        Returns:
            The network in evaluation mode, float32.

        Raises:
            FileNotFoundError: If there is no such file, folder or repository.
            ValueError: If a file is damaged, of another network, or a pickle.

        Example:
            >>> EmbeddingNet.from_pretrained()(torch.rand(1, 3, 50, 70)).shape
            torch.Size([1, 64, 50, 70])
        """
        if path is not None and Path(path).suffix.lower() != ".safetensors":
            return super().from_pretrained(path, revision)
        path = Path(path) if path is not None else Path(__file__).parent.parent / "weights" / "embedding.safetensors"
        if not path.is_file():
            raise FileNotFoundError(f"embedding weights: no file {path}")
        from safetensors import safe_open

        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            # Files that do not say so have a width that was rounded down to the channels of the widest scale, which
            # leaves as many in the others.
            network = (
                cls._of_config(metadata[METADATA], path)
                if METADATA in metadata
                else cls(len(tensors["conv3_1.bias"]) / 256, len(tensors["fuse.bias"]))
            )
            network.load_state_dict(tensors)
        except Exception as error:  # a damaged file, a missing tensor and a wrong shape each have their own error
            raise ValueError(f"embedding weights: {path} is not a file of an EmbeddingNet, or it is damaged") from error
        # 1.5 times as fast as contiguous weights on a CPU.
        return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

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

    def forward_scales(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the fused embedding (N, E, H, W) and the three scales' own, at strides 1, 2 and 4."""
        features = zip(self._features(self.normalize(image)), self.feature_rms, strict=True)
        scales = [self._conv(f"head{s}")(x / rms) for s, (x, rms) in enumerate(features, start=1)]
        size = (image.shape[-2], image.shape[-1])
        fused = self.fuse(torch.cat([upsample(e, 2**s, size) for s, e in enumerate(scales)], dim=1))
        return fused, scales

    def forward(self, image: Tensor) -> Tensor:
        """Embed every pixel.

        Args:
            image: RGB images in 0..1, (N, 3, H, W), any size.

        Returns:
            Embeddings (N, E, H, W).

        Raises:
            ValueError: If `image` is not floating-point RGB.
        """
        return self.forward_scales(image)[0]


class ReleasedEmbedding(VGGScales, Configured):
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

    def forward(self, image: Tensor) -> Tensor:
        """Return the embeddings (N, E, H, W) of RGB images in 0..1, (N, 3, H, W), any size."""
        x = self.normalize(image)
        size = (image.shape[-2], image.shape[-1])
        features = [upsample(f, 2**s, size) for s, f in enumerate(self._features(x))]
        return self.fuse(torch.cat([x, *features], dim=1))


class ColorEmbedding(Configured):
    """A pixel's colour as its embedding: what a classic bilateral filter compares, and what learning must beat.

    Args:
        scale: Factor on colours in 0..1; with 10, hardness 1 lets weights fall to 1/e at a summed difference of 0.1.

    Example:
        >>> ColorEmbedding()(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 3, 50, 70])
    """

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        if not is_number(scale):
            raise ValueError(f"scale must be a finite number, got {scale!r}")
        self.scale = scale

    def forward(self, image: Tensor) -> Tensor:
        """Return the scaled colours of RGB images in 0..1, (N, 3, H, W)."""
        check_rgb("image", image)
        return image * self.scale
