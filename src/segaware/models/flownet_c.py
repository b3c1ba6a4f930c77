"""FlowNetCorr: the features of the two images meet in a correlation layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segaware.models.flownet import FlowNet, activation
from segaware.nn.vgg_weights import check_width
from segaware.ops.arguments import check_integer
from segaware.ops.correlation.op import correlation

# The correlation is that of conv3's output, at stride 8 to the image, between pixels an even number apart.
_CORRELATION_STRIDE = 2
_LARGEST_DISPLACEMENT = 255  # more than the 2^16 correlations of a pixel at which `correlation` ends


class FlowNetC(FlowNet):
    """FlowNetCorr of Dosovitskiy et al. 2015: features of each image by conv1 to conv3, and then how they correlate.

    Beside the correlations with the second image, conv3_1 sees the features of the first, through the 1x1 convolution
    conv_redir. From there on the network is that of `FlowNetS`.

    Args:
        width: Factor on the channels of all layers; 1 is the paper's.
        batch_norm: Put batch normalisation after every convolution of the contraction, for training from scratch.
        max_displacement: How far the correlation looks along either axis, in pixels of stride 8, in steps of two.
        variational: What refines the flow of `forward`, such as a `VariationalRefinement`; left out of training.

    Raises:
        ValueError: If `width` leaves no channel, or `max_displacement` is not an int of 0 or more.

    Example:
        >>> from segaware.models.flownet_c import FlowNetC
        >>> network = FlowNetC(width=0.125)
        >>> network(*torch.rand(2, 1, 3, 50, 70)).shape
        torch.Size([1, 2, 50, 70])
    """

    def __init__(
        self,
        width: float = 1.0,
        *,
        batch_norm: bool = False,
        max_displacement: int = 20,
        variational: nn.Module | None = None,
    ) -> None:
        check_width(width)
        max_displacement = check_integer("max_displacement", max_displacement, 0, _LARGEST_DISPLACEMENT)
        correlations = (2 * (max_displacement // _CORRELATION_STRIDE) + 1) ** 2
        redirected = max(1, int(32 * width))
        super().__init__(width, batch_norm, {"conv1": 3, "conv3_1": redirected + correlations}, variational)
        self._add_conv("conv_redir", int(256 * width), redirected, 1, 1, batch_norm)
        self.max_displacement = max_displacement

    def _meet(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Correlate the features of the images."""
        conv2, conv2_of_2 = (self._conv("conv2", self._conv("conv1", image)) for image in (image1, image2))
        conv3, conv3_of_2 = (self._conv("conv3", x) for x in (conv2, conv2_of_2))
        correlations = correlation(conv3, conv3_of_2, self.max_displacement, _CORRELATION_STRIDE)
        return conv2, torch.cat([self._conv("conv_redir", conv3), activation(correlations)], dim=1)
