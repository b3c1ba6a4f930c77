"""DeepLabV2 on ResNet-101, plain or segmentation-aware.

Network: Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets,
Atrous Convolution, and Fully Connected CRFs", PAMI 2018; its segmentation-aware form is that of Harley, Derpanis,
Kokkinos, ICCV 2017, Sec. 5.1 and Table 2, and of their Caffe release.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor, nn

from segaware.choices import BatchNorm, SegAwareV2Layers
from segaware.models.deeplab import OWN_TENSORS, DeepLab
from segaware.models.refinement import ScoreRefinement
from segaware.models.resnet import FrozenBatchNorm2d, ResNet101, StrideIn
from segaware.nn import ReleasedEmbedding, SegAwareConv2d, SharedDistances, resample
from segaware.nn.shared_distances import convolve
from segaware.nn.vgg_weights import copy_tensors, read_tensors
from segaware.ops.convolution.reference import Normalize

_SCALES = (Fraction(1), Fraction(3, 4), Fraction(1, 2))
_RATES = (6, 12, 18, 24)


class DeepLabV2(DeepLab):
    """DeepLabV2: class scores of ResNet-101 at stride 8 and three scales of the image, upsampled to the image.

    On top of the trunk, 3x3 convolutions with dilation 6, 12, 18 and 24 are summed (atrous spatial pyramid pooling).
    The network sees the image at scales 1, 3/4 and 1/2, and the largest of the three scores of a class counts. A
    layer's masks at a scale come from the image's one embedding, resampled to that scale.

    Args:
        num_classes: Number of classes.
        width: Factor on the channels of the trunk; 1 is ResNet's.
        segaware_layers: Which convolutions are segmentation-aware: none, the pyramid's, or all 3x3 ones. None is in the
            authors' released network.
        hardness: Start hardness of these convolutions.
        normalize: How their masks are normalised, see `segaware.ops.segaware_conv2d`.
        stride_in: "1x1" for weights that Caffe has trained, "3x3" for torchvision's ImageNet weights; see `StrideIn`.
        batch_norm: "frozen" keeps statistics and affine maps as they are loaded, as in DeepLabV2's training; "trained"
            is for training from scratch.
        refinement: What ends the network; None is upsampling.
        embedding: The network that embeds pixels, (N, 3, H, W) to (N, E, H, W). Needed with segmentation-aware layers,
            filter or CRF, and only then.

    Raises:
        ValueError: If an option is out of range, or an embedding is missing or would be unused.

    Example:
        >>> from segaware.models import DeepLabV2, ScoreRefinement
        >>> refinement = ScoreRefinement(21, filter_kernel_size=9, filter_iterations=2)
        >>> net = DeepLabV2(21, width=0.0625, refinement=refinement, embedding=EmbeddingNet(0.25, dim=8)).eval()
        >>> net(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 21, 50, 70])
    """

    def __init__(
        self,
        num_classes: int,
        width: float = 1.0,
        *,
        segaware_layers: SegAwareV2Layers = "none",
        hardness: float = 0.0,
        normalize: Normalize = "mean",
        stride_in: StrideIn = "1x1",
        batch_norm: BatchNorm = "frozen",
        refinement: ScoreRefinement | None = None,
        embedding: nn.Module | None = None,
    ) -> None:
        norms = {"frozen": FrozenBatchNorm2d, "trained": nn.BatchNorm2d}
        if segaware_layers not in get_args(SegAwareV2Layers):
            raise ValueError(f"segaware_layers must be one of {get_args(SegAwareV2Layers)}, got {segaware_layers!r}")
        if batch_norm not in norms:
            raise ValueError(f"batch_norm must be one of {tuple(norms)}, got {batch_norm!r}")
        super().__init__(num_classes, segaware_layers, refinement, embedding)
        aware = partial(SegAwareConv2d, normalize=normalize, hardness=hardness)
        conv3x3 = aware if segaware_layers == "all" else nn.Conv2d
        self.trunk = ResNet101(width, stride_in, norms[batch_norm], conv3x3)
        conv3x3 = nn.Conv2d if segaware_layers == "none" else aware
        self.aspp = nn.ModuleList(
            conv3x3(self.trunk.out_channels, num_classes, 3, padding=rate, dilation=rate) for rate in _RATES
        )
        for layer in self.aspp:
            nn.init.normal_(cast(Tensor, layer.weight), std=0.01)
            nn.init.zeros_(cast(Tensor, layer.bias))

    @classmethod
    def released(cls, num_classes: int = 21, width: float = 1.0) -> DeepLabV2:
        """Return the SegAware DeepLabV2 of the authors' release, for its weights: see `segaware.models.load_caffe`.

        No convolution is segmentation-aware. At half the image's resolution, two iterations of the CRF (13x13 with
        dilation 9, half the squared Euclidean distance of embeddings scaled by 200), then the 9x9 filter twice, with
        hardness 50.

        Args:
            num_classes: Number of classes.
            width: Factor on the channels; the released weights have 1.
        """
        refinement = ScoreRefinement(
            num_classes,
            filter_kernel_size=9,
            filter_iterations=2,
            filter_hardness=50.0,
            crf="segaware",
            crf_hardness=200.0**2 / 2,
            crf_metric="sqeuclidean",
            crf_first=True,
        )
        return cls(num_classes, width, refinement=refinement, embedding=ReleasedEmbedding(width))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the groups of all versions of DeepLab, and the pyramid as "head"."""
        return {"head": list(self.aspp.parameters()), **super().parameter_groups()}

    def load_resnet(self, path: str | Path) -> None:
        """Load the trunk from a .safetensors or .pth file of ImageNet weights of ResNet-101, named as torchvision's.

        Args:
            path: The file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If a tensor is missing from the file or has another shape there; nothing is changed then.
        """
        targets = {name: t for name, t in self.trunk.state_dict().items() if not name.endswith(OWN_TENSORS)}
        copy_tensors(targets, read_tensors(Path(path), "ResNet weights"), "ResNet weights", path)

    def _forward_each(self, image: Tensor, shared: SharedDistances | None) -> list[Tensor]:
        """Return the scores of every scale, at stride 8 to the image of that scale."""
        normalized = self.normalize(image)
        scores = []
        for scale in _SCALES:
            own = shared
            if self.segaware_layers != "none" and scale != 1:
                assert shared is not None
                own = SharedDistances(resample(shared.embedding, scale))
            x = self.trunk(resample(normalized, scale), own)
            pyramid = [convolve(cast(nn.Conv2d, layer), x, self.output_stride, own) for layer in self.aspp]
            scores.append(torch.stack(pyramid).sum(0))
        return scores

    def _fuse(self, scores: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return the scores of every scale at stride 8 to the image, and the largest of them."""
        size = (scores[0].shape[-2], scores[0].shape[-1])
        aligned = [resample(s, 1 / scale, size) for s, scale in zip(scores, _SCALES, strict=True)]
        return aligned, torch.stack(aligned).amax(0)

    def _unrefined(self, image: Tensor, shared: SharedDistances | None) -> Tensor:
        return self._fuse(self._forward_each(image, shared))[1]

    def forward_scales(self, image: Tensor) -> list[tuple[Tensor, int]]:
        """Return all scores that training compares with labels, each with its stride to the image.

        They are those of the scales 1, 3/4 and 1/2, at strides 8, 8 and 16 (the second, whose own stride would be
        32/3, is upsampled, as in the authors' release), the fused ones, and the refined ones if filter or CRF refine.

        Args:
            image: RGB (N, 3, H, W) in 0..1.
        """
        shared = self._shared(image)
        scores = self._forward_each(image, shared)
        aligned, fused = self._fuse(scores)
        stride = self.output_stride
        scales = [(aligned[0], stride), (aligned[1], stride), (scores[2], 2 * stride), (fused, stride)]
        if self.refinement.needs_embedding:
            size = (image.shape[-2], image.shape[-1])
            scales.append(self.refinement.forward_scores(fused, stride, shared, size))
        return scales
