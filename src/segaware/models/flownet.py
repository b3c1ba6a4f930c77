"""FlowNet: optical flow by a contraction to 1/64 of the image and an expansion back to 1/4.

Dosovitskiy, Fischer, Ilg, Hausser, Hazirbas, Golkov, van der Smagt, Cremers, Brox, "FlowNet: Learning Optical Flow with
Convolutional Networks", ICCV 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.nn import upsample
from segaware.nn.end_point_loss import FLOW_UNIT
from segaware.nn.hub import Pretrained
from segaware.nn.resampling import sampled_size
from segaware.nn.vgg_weights import NormalizeImage, check_width
from segaware.ops.arguments import check_devices, check_rgb

# Contraction: name, channels, kernel size, stride. Level l ends at stride 2^l to the image.
_CONTRACTION = (
    ("conv1", 64, 7, 2),
    ("conv2", 128, 5, 2),
    ("conv3", 256, 5, 2),
    ("conv3_1", 256, 3, 1),
    ("conv4", 512, 3, 2),
    ("conv4_1", 512, 3, 1),
    ("conv5", 512, 3, 2),
    ("conv5_1", 512, 3, 1),
    ("conv6", 1024, 3, 2),
    ("conv6_1", 1024, 3, 1),
)
# Expansion: level, channels of the transposed convolution that leads to it, and what is skipped across to it.
_EXPANSION = ((5, 512, "conv5_1"), (4, 256, "conv4_1"), (3, 128, "conv3_1"), (2, 64, "conv2"))
_COARSEST_STRIDE = 64
_SLOPE = 0.1  # of the leaky ReLU


class FlowNet(Pretrained):
    """What `FlowNetS` and `FlowNetC` share: all but how the two images meet.

    Args:
        width: Factor on the channels of all layers; 1 is the paper's.
        batch_norm: Put batch normalisation after every convolution of the contraction.
        inputs: Input channels of the convolutions that do not follow the one before them in the contraction.
        variational: What refines the flow of `forward`, such as a `VariationalRefinement`; left out of training.

    Raises:
        ValueError: If `width` leaves no channel.
    """

    output_stride = 4  # of the finest flow before it is upsampled
    predict_flow2: nn.Conv2d

    def __init__(
        self, width: float, batch_norm: bool, inputs: Mapping[str, int], variational: nn.Module | None
    ) -> None:
        super().__init__()
        check_width(width)
        self.normalize = NormalizeImage()
        self.variational = variational
        outputs = {name: int(channels * width) for name, channels, _, _ in _CONTRACTION}
        channels = 0
        for name, _, kernel_size, stride in _CONTRACTION:
            self._add_conv(name, inputs.get(name, channels), outputs[name], kernel_size, stride, batch_norm)
            channels = outputs[name]
        for level, full_channels, skip in _EXPANSION:
            self._add_layer(f"predict_flow{level + 1}", nn.Conv2d(channels, 2, 3, padding=1), scale=0.01)
            deconv = nn.ConvTranspose2d(channels, int(full_channels * width), 4, stride=2, padding=1)
            self._add_layer(f"deconv{level}", deconv)
            self._add_layer(f"upsampled_flow{level + 1}_to_{level}", nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1))
            channels = outputs[skip] + deconv.out_channels + 2
        self._add_layer("predict_flow2", nn.Conv2d(channels, 2, 3, padding=1), scale=0.01)

    def _add_conv(self, name: str, inputs: int, outputs: int, kernel_size: int, stride: int, batch_norm: bool) -> None:
        self._add_layer(name, nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2))
        if batch_norm:
            self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs))

    def _add_layer(self, name: str, layer: nn.Conv2d | nn.ConvTranspose2d, scale: float = 1.0) -> None:
        """Add a layer with He initialisation times `scale`: small for predictions, so that flow starts near 0."""
        nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
        nn.init.zeros_(cast(Tensor, layer.bias))
        with torch.no_grad():
            layer.weight.mul_(scale)
        self.add_module(name, layer)

    def _conv(self, name: str, x: Tensor) -> Tensor:
        """Apply a convolution that `_add_conv` has added, and its activation."""
        x = self.get_submodule(name)(x)
        return activation(self.get_submodule(f"{name}_bn")(x) if hasattr(self, f"{name}_bn") else x)

    def _meet(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Bring the normalised images together: return what conv2 gives, and what conv3_1 is to see."""
        raise NotImplementedError

    def _finest_flows(self, features: Tensor, image1: Tensor) -> dict[int, Tensor]:
        """Predict the flow at stride 4 and finer from the last features, (N, C, ceil(H / 4), ceil(W / 4)).

        Returns:
            Flow in pixels by its stride to the image.
        """
        return {self.output_stride: FLOW_UNIT * self.predict_flow2(features)}

    def forward_scales(self, image1: Tensor, image2: Tensor) -> dict[int, Tensor]:
        """Return the flow wherever the network predicts it, for a loss at every scale.

        Args:
            image1: RGB images in 0..1, (N, 3, H, W), any size.
            image2: The images that follow them, (N, 3, H, W).

        Returns:
            Flow in pixels of the image by its stride s to the image, finest first, (N, 2, ceil(H / s), ceil(W / s)).
            Flow (i, j) is that of image pixel (s * i, s * j).

        Raises:
            ValueError: If the images are not floating-point RGB, or differ in size or number.
        """
        _check_pair(image1, image2)
        height, width = image1.shape[-2:]
        rows, columns = (n * _COARSEST_STRIDE for n in sampled_size((height, width), _COARSEST_STRIDE))
        padding = (0, columns - width, 0, rows - height)
        skips = {}
        skips["conv2"], x = self._meet(
            *(F.pad(self.normalize(image), padding, mode="replicate") for image in (image1, image2))
        )
        for name, *_ in _CONTRACTION[3:]:
            x = skips[name] = self._conv(name, x)
        flows = {}
        for level, _, skip in _EXPANSION:
            flow = self.get_submodule(f"predict_flow{level + 1}")(x)
            flows[2 ** (level + 1)] = FLOW_UNIT * _cropped(flow, 2 ** (level + 1), height, width)
            deconv = activation(self.get_submodule(f"deconv{level}")(x))
            x = torch.cat([skips[skip], deconv, self.get_submodule(f"upsampled_flow{level + 1}_to_{level}")(flow)], 1)
        flows |= self._finest_flows(_cropped(x, self.output_stride, height, width), image1)
        return dict(sorted(flows.items()))

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Estimate where every pixel of `image1` is in `image2`.

        Args:
            image1: RGB images in 0..1, (N, 3, H, W), any size.
            image2: The images that follow them, (N, 3, H, W).

        Returns:
            Flow in pixels, u to the right and v down, (N, 2, H, W): the finest of `forward_scales`, upsampled and
            refined.

        Raises:
            ValueError: If the images are not floating-point RGB, or differ in size or number.
        """
        stride, flow = next(iter(self.forward_scales(image1, image2).items()))
        flow = upsample(flow, stride, (image1.shape[-2], image1.shape[-1]))
        return flow if self.variational is None else self.variational(flow, image1, image2)


class FlowNetS(FlowNet):
    """FlowNetSimple: the two images are one image of six channels.

    The flow is predicted at 1/64 to 1/4 of the image, each prediction helping the next, and the last is upsampled. All
    layers have a bias, as the authors' have.

    Args:
        width: Factor on the channels of all layers; 1 is the paper's.
        batch_norm: Put batch normalisation after every convolution of the contraction, for training from scratch.
        variational: What refines the flow of `forward`, such as a `VariationalRefinement`; left out of training.

    Raises:
        ValueError: If `width` leaves no channel.

    Example:
        >>> from segaware.models.flownet import FlowNetS
        >>> network = FlowNetS(width=0.125)
        >>> image1, image2 = torch.rand(2, 1, 3, 50, 70)
        >>> network(image1, image2).shape
        torch.Size([1, 2, 50, 70])
        >>> {stride: tuple(flow.shape) for stride, flow in network.forward_scales(image1, image2).items()}
        {4: (1, 2, 13, 18), 8: (1, 2, 7, 9), 16: (1, 2, 4, 5), 32: (1, 2, 2, 3), 64: (1, 2, 1, 2)}
    """

    def __init__(self, width: float = 1.0, *, batch_norm: bool = False, variational: nn.Module | None = None) -> None:
        super().__init__(width, batch_norm, {"conv1": 6}, variational)

    def _meet(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Concatenate the images."""
        conv2 = self._conv("conv2", self._conv("conv1", torch.cat([image1, image2], dim=1)))
        return conv2, self._conv("conv3", conv2)


def activation(x: Tensor) -> Tensor:
    """Return what follows every layer but predictions and upsampled flows."""
    return F.leaky_relu(x, _SLOPE)


def _cropped(x: Tensor, stride: int, height: int, width: int) -> Tensor:
    """Return the pixels (i, j) of `x` whose image pixel (stride * i, stride * j) is not padding."""
    rows, columns = sampled_size((height, width), stride)
    if torch.compiler.is_exporting():  # a slice would ask whether it leaves anything out, and fix the answer
        i, j = (torch.arange(count, device=x.device) for count in (rows, columns))
        return x.index_select(2, i).index_select(3, j)
    return x[..., :rows, :columns]


def _check_pair(image1: Tensor, image2: Tensor) -> None:
    for name, image in (("image1", image1), ("image2", image2)):
        check_rgb(name, image)
    check_devices(image1=image1, image2=image2)
    if image1.shape != image2.shape:
        raise ValueError(
            f"image1 and image2 must have the same shape, got {tuple(image1.shape)} and {tuple(image2.shape)}"
        )
