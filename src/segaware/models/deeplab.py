"""DeepLab-LargeFOV, plain or segmentation-aware.

Network: Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation with Deep Convolutional Nets and Fully
Connected CRFs", ICLR 2015, in its VGG-16 form with a 3x3 fc6 of dilation 12; its segmentation-aware form is that of
Harley, Derpanis, Kokkinos, ICCV 2017, Sec. 5.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from segaware.choices import SegAwareLayers, Trunk
from segaware.models.refinement import ScoreRefinement
from segaware.nn import SegAwareConv2d, SharedDistances, read_vgg_weights
from segaware.nn.hub import Pretrained
from segaware.nn.shared_distances import convolve
from segaware.nn.vgg_weights import NormalizeImage, check_width, copy_vgg_weights
from segaware.ops.arguments import MOST_CLASSES, check_integer, is_number
from segaware.ops.convolution.reference import Normalize

# Of each block of VGG: width, the stride of its input to the image, and dilation; and how many convolutions it has.
_BLOCKS = ((64, 1, 1), (128, 2, 1), (256, 4, 1), (512, 8, 1), (512, 8, 2))
_CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
# Endings of the names of tensors that no file of weights from elsewhere has.
OWN_TENSORS = ("hardness", "num_batches_tracked")


class DeepLab(Pretrained):
    """What all versions of DeepLab share: class scores at stride 8, refined under an embedding of the image.

    Args:
        num_classes: Number of classes.
        segaware_layers: Which convolutions are segmentation-aware; "none" is none.
        refinement: What ends the network; None is upsampling.
        embedding: The network that embeds pixels, if there is anything that compares them.

    Raises:
        ValueError: If the refinement does not fit, or an embedding is missing or would be unused.
    """

    output_stride = 8  # of the scores before they are refined

    def __init__(
        self, num_classes: int, segaware_layers: str, refinement: ScoreRefinement | None, embedding: nn.Module | None
    ) -> None:
        super().__init__()
        num_classes = check_integer("num_classes", num_classes, 1, MOST_CLASSES)
        refinement = refinement or ScoreRefinement(num_classes)
        if refinement.num_classes != num_classes:
            raise ValueError(
                f"refinement must be of {num_classes} classes, as the network, got {refinement.num_classes}"
            )
        if refinement.stride < 1 or self.output_stride % refinement.stride:
            raise ValueError(f"filter_stride must divide {self.output_stride}, got {refinement.stride}")
        needs_embedding = segaware_layers != "none" or refinement.needs_embedding
        if needs_embedding != (embedding is not None):
            window = 0 if refinement.filter is None else refinement.filter.kernel_size[0]
            raise ValueError(
                f"embedding is {'needed' if needs_embedding else 'not used'} with segaware_layers={segaware_layers!r}, "
                f"filter_kernel_size={window} and crf={'none' if refinement.crf is None else 'segaware'!r}, "
                f"but {'none' if embedding is None else 'one'} was given"
            )
        self.num_classes = num_classes
        self.segaware_layers = segaware_layers
        self.normalize = NormalizeImage()
        self.embedding = embedding
        self.refinement = refinement

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that training treats in their own way; see `segaware.nn.parameter_groups`."""
        embedding = [] if self.embedding is None else list(self.embedding.parameters())
        return {"embedding": embedding, "hardness": list(self.refinement.parameters())}

    def _shared(self, image: Tensor) -> SharedDistances | None:
        if self.embedding is None:
            return None
        return SharedDistances.of_image(self.embedding, image, self.embedding_stride)

    @property
    def embedding_stride(self) -> int:
        """The finest stride at which layers compare embeddings; that of the refinement divides the others."""
        if self.segaware_layers not in ("none", "fc6"):
            return 1
        return self.refinement.stride if self.refinement.needs_embedding else self.output_stride

    def _unrefined(self, image: Tensor, shared: SharedDistances | None) -> Tensor:
        raise NotImplementedError

    def forward_unrefined(self, image: Tensor) -> Tensor:
        """Return the scores before filter and CRF, at `output_stride` to the image."""
        return self._unrefined(image, self._shared(image) if self.segaware_layers != "none" else None)

    def forward_scores(self, image: Tensor) -> tuple[Tensor, int]:
        """Return the scores where the network computes them, and their stride s to the image.

        Score (i, j) is that of image pixel (s * i, s * j).

        Args:
            image: RGB (N, 3, H, W) in 0..1.
        """
        shared = self._shared(image)
        scores = self._unrefined(image, shared)
        return self.refinement.forward_scores(scores, self.output_stride, shared, (image.shape[-2], image.shape[-1]))

    def forward(self, image: Tensor) -> Tensor:
        """Score every pixel for every class.

        Args:
            image: RGB images in 0..1, (N, 3, H, W), any size.

        Returns:
            Class scores (logits) at the size of the image, (N, num_classes, H, W).

        Raises:
            ValueError: If `image` is not floating-point RGB.
        """
        shared = self._shared(image)
        return self.refinement(self._unrefined(image, shared), self.output_stride, shared, image)


class DeepLabLargeFOV(DeepLab):
    """DeepLab-LargeFOV on VGG: class scores at stride 8, upsampled to the image.

    The convolutions are named conv1_1 to conv5_3 (vgg19: conv5_4), fc6, fc7 and fc8, segmentation-aware or not, so
    weights move between the plain network and its segmentation-aware forms.

    Args:
        num_classes: Number of classes.
        width: Factor on the channels of all layers; 1 is VGG's.
        batch_norm: Put batch normalisation after every convolution but the last, for training from scratch.
        dropout: Dropout after fc6 and fc7.
        fc_width: Channels of fc6 and fc7, times `width`.
        fc6_dilation: Dilation of fc6, 12 in the paper: taps 96 pixels apart. Smaller images want a smaller one.
        trunk: "vgg16", as in the paper, or "vgg19".
        segaware_layers: Which convolutions are segmentation-aware: none, fc6, or all 3x3 ones.
        hardness: Start hardness of these convolutions.
        normalize: How their masks are normalised, see `segaware.ops.segaware_conv2d`.
        refinement: What ends the network; None is upsampling. The stride of filter and CRF must divide 8.
        embedding: The network that embeds pixels, (N, 3, H, W) to (N, E, H, W): an `EmbeddingNet`, or `ColorEmbedding`
            for comparison. Needed with segmentation-aware layers, filter or CRF, and only then.

    Raises:
        ValueError: If an option is out of range, or an embedding is missing or would be unused.

    Example:
        >>> from segaware.models import DeepLabLargeFOV, ScoreRefinement
        >>> sharpen = ScoreRefinement(21, filter_kernel_size=9, filter_iterations=2)
        >>> embedding = EmbeddingNet(0.25, dim=8)
        >>> net = DeepLabLargeFOV(21, 0.125, segaware_layers="fc6", refinement=sharpen, embedding=embedding)
        >>> net.eval()(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 21, 50, 70])
    """

    def __init__(
        self,
        num_classes: int,
        width: float = 1.0,
        *,
        batch_norm: bool = False,
        dropout: float = 0.5,
        fc_width: int = 1024,
        fc6_dilation: int = 12,
        trunk: Trunk = "vgg16",
        segaware_layers: SegAwareLayers = "none",
        hardness: float = 0.0,
        normalize: Normalize = "mean",
        refinement: ScoreRefinement | None = None,
        embedding: nn.Module | None = None,
    ) -> None:
        if segaware_layers not in get_args(SegAwareLayers):
            raise ValueError(f"segaware_layers must be one of {get_args(SegAwareLayers)}, got {segaware_layers!r}")
        if trunk not in _CONVOLUTIONS:
            raise ValueError(f"trunk must be one of {get_args(Trunk)}, got {trunk!r}")
        if not (is_number(dropout) and 0 <= dropout < 1):
            raise ValueError(f"dropout must be at least 0 and less than 1, which would leave nothing, got {dropout!r}")
        check_width(width)
        check_integer("fc_width", fc_width, 1)
        check_integer("fc6_dilation", fc6_dilation, 1)
        super().__init__(num_classes, segaware_layers, refinement, embedding)
        self.convolutions = _CONVOLUTIONS[trunk]
        self.dropout = nn.Dropout(dropout)

        def conv(name: str, inputs: int, outputs: int, kernel_size: int, dilation: int = 1) -> None:
            padding = dilation * (kernel_size // 2)
            if kernel_size > 1 and segaware_layers in ("all", name):
                layer: nn.Conv2d = SegAwareConv2d(
                    inputs,
                    outputs,
                    kernel_size,
                    padding=padding,
                    dilation=dilation,
                    normalize=normalize,
                    hardness=hardness,
                )
            else:
                layer = nn.Conv2d(inputs, outputs, kernel_size, padding=padding, dilation=dilation)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
            self.add_module(name, layer)
            if batch_norm and name != "fc8":
                self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs))

        channels = 3
        for block, (full_width, _, dilation) in enumerate(_BLOCKS, start=1):
            for i in range(1, self.convolutions[block - 1] + 1):
                conv(f"conv{block}_{i}", channels, int(full_width * width), 3, dilation)
                channels = int(full_width * width)
        fc_width = max(int(fc_width * width), 1)
        conv("fc6", channels, fc_width, 3, fc6_dilation)
        conv("fc7", fc_width, fc_width, 1)
        conv("fc8", fc_width, num_classes, 1)
        nn.init.normal_(self.get_submodule("fc8").weight, std=0.01)  # type: ignore[arg-type]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the groups of all versions of DeepLab, and fc8 as "head"."""
        return {"head": list(self.get_submodule("fc8").parameters()), **super().parameter_groups()}

    def load_vgg(self, path: str | Path) -> list[str]:
        """Load the trunk, conv1_1 to conv5_3 (conv5_4), from ImageNet weights; see `segaware.nn.read_vgg_weights`.

        VGG's features are tens to hundreds, so fc6 and fc7 are drawn anew from N(0, 0.005): scores start near 0.

        Args:
            path: The file; see `segaware.nn.read_vgg_weights`.

        Raises:
            ValueError: If a layer is missing from the file, has another shape there, or the file is of a deeper VGG.
        """
        weights = read_vgg_weights(path)
        names = {name.removesuffix(".weight") for name in weights if name.endswith(".weight")}
        deeper = sorted(name for name in names if name.startswith("conv") and not hasattr(self, name))
        if deeper:
            raise ValueError(
                f"VGG weights: {path} has {', '.join(deeper)}, which this trunk does not; use trunk='vgg19'"
            )
        loaded = copy_vgg_weights(self, weights, path)
        for name in ("fc6", "fc7"):
            nn.init.normal_(cast(nn.Conv2d, self.get_submodule(name)).weight, std=0.005)
        return loaded

    def _conv(self, name: str, x: Tensor, stride: int, shared: SharedDistances | None) -> Tensor:
        x = convolve(cast(nn.Conv2d, self.get_submodule(name)), x, stride, shared)
        return F.relu(self.get_submodule(f"{name}_bn")(x) if hasattr(self, f"{name}_bn") else x)

    def _unrefined(self, image: Tensor, shared: SharedDistances | None) -> Tensor:
        return self.forward_head(self.forward_features(image, shared), shared)

    def forward_features(self, image: Tensor, shared: SharedDistances | None = None) -> Tensor:
        """Return what fc6 sees of images, (N, C, h, w) at `output_stride`.

        Args:
            image: RGB (N, 3, H, W) in 0..1.
            shared: Distances of the images' embedding, for a trunk with masks.
        """
        x = self.normalize(image)
        for block, (_, stride, _) in enumerate(_BLOCKS, start=1):
            for i in range(1, self.convolutions[block - 1] + 1):
                x = self._conv(f"conv{block}_{i}", x, stride, shared)
            # 3x3 pooling with padding 1 keeps output pixel i on input pixel stride * i. The last two keep the size.
            x = F.max_pool2d(x, 3, stride=2 if block <= 3 else 1, padding=1)
        return F.avg_pool2d(x, 3, stride=1, padding=1)

    def forward_head(self, features: Tensor, shared: SharedDistances | None) -> Tensor:
        """Return the class scores before filter and CRF, from fc6 on, of features of `forward_features`."""
        x = self.dropout(self._conv("fc6", features, self.output_stride, shared))
        x = self.dropout(self._conv("fc7", x, self.output_stride, shared))
        return cast(nn.Conv2d, self.get_submodule("fc8"))(x)
