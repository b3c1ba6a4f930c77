"""FlowNetSimple made segmentation-aware: Harley, Derpanis, Kokkinos, ICCV 2017, Sec. 5.2 (Table 3)."""

from __future__ import annotations

from torch import Tensor, nn

from segaware.models.flownet import FlowNetS
from segaware.nn import BilateralFilter2d, SegAwareConv2d, SharedDistances, upsample
from segaware.nn.end_point_loss import FLOW_UNIT
from segaware.nn.resampling import sampled_size
from segaware.ops.arguments import as_integer
from segaware.ops.convolution.reference import Normalize


class SegAwareFlowNetS(FlowNetS):
    """`FlowNetS` whose final prediction, and a bilateral filter after it, heed the embedding of the first image.

    Its layers have the names of `FlowNetS`, so weights move between the two.

    Args:
        width: Factor on the channels of all layers; 1 is FlowNet's.
        batch_norm: Put batch normalisation after every convolution of the contraction, for training from scratch.
        segaware_prediction: Make the final prediction layer, predict_flow2, segmentation-aware.
        hardness: Its start hardness.
        filter_kernel_size: Window of the bilateral filter that ends the network; 0 for none.
        filter_iterations: How often that filter is applied.
        filter_hardness: Its start hardness.
        filter_stride: The stride to the image at which it is applied: 4, 2 or 1. The flow is upsampled to it.
        normalize: How the mask of the prediction layer is normalised, see `segaware.ops.segaware_conv2d`.
        variational: What refines the flow of `forward`, such as a `VariationalRefinement`; left out of training.
        embedding: The network that embeds pixels, (N, 3, H, W) to (N, E, H, W): an `EmbeddingNet`, or `ColorEmbedding`
            for comparison. Needed with segmentation-aware prediction or filter, and only then.

    Raises:
        ValueError: If an option is out of range, or an embedding is missing or would be unused.

    Example:
        >>> from segaware.models.segaware_flownet import SegAwareFlowNetS
        >>> network = SegAwareFlowNetS(width=0.125, embedding=EmbeddingNet(0.25, dim=8))
        >>> image1, image2 = torch.rand(2, 1, 3, 50, 70)
        >>> {stride: tuple(flow.shape) for stride, flow in network.forward_scales(image1, image2).items()}
        {2: (1, 2, 25, 35), 4: (1, 2, 13, 18), 8: (1, 2, 7, 9), 16: (1, 2, 4, 5), 32: (1, 2, 2, 3), 64: (1, 2, 1, 2)}
    """

    def __init__(
        self,
        width: float = 1.0,
        *,
        batch_norm: bool = False,
        segaware_prediction: bool = True,
        hardness: float = 0.0,
        filter_kernel_size: int = 9,
        filter_iterations: int = 1,
        filter_hardness: float = 1.0,
        filter_stride: int = 2,
        normalize: Normalize = "mean",
        variational: nn.Module | None = None,
        embedding: nn.Module | None = None,
    ) -> None:
        super().__init__(width, batch_norm=batch_norm, variational=variational)
        stride = as_integer(filter_stride)
        if stride is None or stride < 1 or self.output_stride % stride:
            raise ValueError(f"filter_stride must divide {self.output_stride}, got {filter_stride}")
        needs_embedding = segaware_prediction or filter_kernel_size > 0
        if needs_embedding != (embedding is not None):
            raise ValueError(
                f"embedding is {'needed' if needs_embedding else 'not used'} with "
                f"segaware_prediction={segaware_prediction} and filter_kernel_size={filter_kernel_size}, "
                f"but {'none' if embedding is None else 'one'} was given"
            )
        if segaware_prediction:
            plain = self.predict_flow2
            self.predict_flow2 = SegAwareConv2d(
                plain.in_channels, 2, 3, padding=1, normalize=normalize, hardness=hardness
            )
            self.predict_flow2.load_state_dict(plain.state_dict())
        self.refinement = (
            BilateralFilter2d(filter_kernel_size, iterations=filter_iterations, hardness=filter_hardness)
            if filter_kernel_size
            else None
        )
        self.filter_stride = stride
        self.embedding = embedding

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that training treats in their own way; see `segaware.nn.parameter_groups`."""
        return {"embedding": [] if self.embedding is None else list(self.embedding.parameters())}

    def _finest_flows(self, features: Tensor, image1: Tensor) -> dict[int, Tensor]:
        """Predict the flow at stride 4, and filter it at the stride of the filter, under the embedding of `image1`."""
        if self.embedding is None:
            return super()._finest_flows(features, image1)
        stride = self.output_stride if self.refinement is None else self.filter_stride
        shared = SharedDistances.of_image(self.embedding, image1, stride)
        if isinstance(self.predict_flow2, SegAwareConv2d):
            distance = shared(self.predict_flow2, self.output_stride)
            flows = {self.output_stride: FLOW_UNIT * self.predict_flow2(features, distance=distance)}
        else:
            flows = super()._finest_flows(features, image1)
        if self.refinement is None:
            return flows
        size = sampled_size((image1.shape[-2], image1.shape[-1]), self.filter_stride)
        flow = upsample(flows[self.output_stride], self.output_stride // self.filter_stride, size)
        filtered = self.refinement(flow, distance=shared(self.refinement, self.filter_stride))
        return flows | {self.filter_stride: filtered}
