"""The training stage of optical flow."""

from __future__ import annotations

from torch import Tensor, nn

from segaware.data.flow import FlowSample
from segaware.metrics import EndPointError
from segaware.nn import MultiscaleEndPointLoss
from segaware.training.optimization import Optimization
from segaware.training.stages import Stage


class FlowStage(Stage):
    """Train a network that estimates flow, end to end, with end-point errors on all its scales."""

    sample_type = FlowSample

    def __init__(self, network: nn.Module, optimization: Optimization) -> None:
        super().__init__(network, optimization)
        self.multiscale = MultiscaleEndPointLoss()
        self.error = EndPointError()

    def loss(self, sample: FlowSample) -> Tensor:  # type: ignore[override]
        """Return the multi-scale loss of a batch."""
        flows = self.network.forward_scales(sample.image1, sample.image2)  # type: ignore[operator]
        return self.multiscale(flows, sample.flow, sample.valid)

    def validation_step(self, batch: FlowSample, batch_idx: int) -> None:
        """Count end-point errors."""
        batch = FlowSample(*batch)
        self.error(self.network(batch.image1, batch.image2), batch.flow, batch.valid)
        self.log("val/end_point_error", self.error, prog_bar=True, batch_size=len(batch.name))
