"""Dilated ResNet-101, the trunk of DeepLabV2."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.choices import StrideIn
from segaware.nn import SharedDistances
from segaware.nn.shared_distances import convolve
from segaware.nn.vgg_weights import check_width

# Where the first unit of a block that halves the resolution has its stride: in its first 1x1 convolution, as He et al.
# and Caffe have it, or in its 3x3 one, as torchvision (and timm, transformers) have it. Weights have the same shapes in
# both, and work in the one that they were trained in: Caffe's need "1x1", torchvision's ImageNet weights "3x3".

# Of each block: units, width of their 3x3 convolutions, stride to the image and dilation of these.
_BLOCKS = ((3, 64, 4, 1), (4, 128, 8, 1), (23, 256, 8, 2), (3, 512, 8, 4))
_EXPANSION = 4  # of a unit's output to its width
_UNITS = sum(units for units, *_ in _BLOCKS)


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation by given statistics and with a given affine map, none of which is ever trained.

    It loads the `state_dict` of a `torch.nn.BatchNorm2d`, and computes what that does in evaluation mode.

    Args:
        num_features: Number of channels.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((num_features,), value))

    def forward(self, input: Tensor) -> Tensor:
        """Normalise features (N, C, H, W)."""
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias)


class Bottleneck(nn.Module):
    """A residual unit: 1x1, 3x3 and 1x1 convolution, added to the input."""

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        dilation: int,
        output_stride: int,
        stride_in: StrideIn,
        norm: Callable[[int], nn.Module],
        conv3x3: Callable[..., nn.Conv2d],
    ) -> None:
        super().__init__()
        outputs = _EXPANSION * width
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(inputs, width, 1, first, bias=False)
        self.bn1 = norm(width)
        self.conv2 = conv3x3(width, width, 3, stride=second, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = norm(outputs)
        # Without batch statistics nothing else keeps the features of untrained units from growing from one to the next.
        nn.init.constant_(cast(Tensor, self.bn3.weight), _UNITS**-0.5)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))
            if inputs != outputs
            else None
        )
        self.conv2_stride = output_stride // second  # of the input of the 3x3 convolution to the image

    def forward(self, x: Tensor, shared: SharedDistances | None) -> Tensor:
        """Return the features of the unit."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(convolve(self.conv2, y, self.conv2_stride, shared)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class ResNet101(nn.Module):
    """ResNet-101 whose last two blocks are dilated by 2 and 4 and keep stride 8 to the image, without its classifier.

    Layers are named as torchvision's. Pixel i of a map at stride s lies on pixel s * i of the image.

    Args:
        width: Factor on the channels of all layers.
        stride_in: Which convolution has the stride of a block, see `StrideIn`.
        norm: Makes the normalisation of a number of channels.
        conv3x3: Makes 3x3 convolutions, plain or segmentation-aware.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        width: float = 1.0,
        stride_in: StrideIn = "1x1",
        norm: Callable[[int], nn.Module] = FrozenBatchNorm2d,
        conv3x3: Callable[..., nn.Conv2d] = nn.Conv2d,
    ) -> None:
        super().__init__()
        check_width(width)
        if stride_in not in get_args(StrideIn):
            raise ValueError(f"stride_in must be one of {get_args(StrideIn)}, got {stride_in!r}")
        channels = int(64 * width)
        self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(channels)
        previous_stride, previous_dilation = 4, 1
        for block, (units, full_width, output_stride, dilation) in enumerate(_BLOCKS, start=1):
            layers = nn.ModuleList()
            for unit in range(units):
                # A dilated block stands for a strided one. What comes before its stride keeps the dilation of before.
                own = previous_dilation if unit == 0 and stride_in == "3x3" else dilation
                stride = output_stride // previous_stride
                unit_width = int(full_width * width)
                layers.append(Bottleneck(channels, unit_width, stride, own, output_stride, stride_in, norm, conv3x3))
                channels, previous_stride = _EXPANSION * unit_width, output_stride
            self.add_module(f"layer{block}", layers)
            previous_dilation = dilation
        self.out_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor, shared: SharedDistances | None = None) -> Tensor:
        """Return the features at stride 8.

        Args:
            x: Normalised images (N, 3, H, W), any size.
            shared: Distances of their embedding, if the 3x3 convolutions are segmentation-aware.

        Returns:
            Features (N, 2048 * width, ceil(H / 8), ceil(W / 8)).
        """
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for block in range(1, 1 + len(_BLOCKS)):
            for unit in cast(nn.ModuleList, self.get_submodule(f"layer{block}")):
                x = unit(x, shared)
        return x
