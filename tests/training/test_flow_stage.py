"""The stage of optical flow: its loss, and batches without truth."""

from functools import partial

import torch

from segaware.data.flow import FlowSample
from segaware.models import FlowNetS, SegAwareFlowNetS
from segaware.nn import ColorEmbedding, MultiscaleEndPointLoss
from segaware.training import FlowStage, Optimization
from segaware.training.optimization import polynomial

OPTIMIZATION = Optimization(torch.optim.AdamW, partial(polynomial, power=0.0), 0.01)


def _sample(known: bool = True) -> FlowSample:
    torch.manual_seed(0)
    images, mask = torch.rand(2, 2, 3, 33, 70), torch.full((2, 33, 70), known)
    return FlowSample(*images, torch.randn(2, 2, 33, 70), mask, ~mask, ["a", "b"])  # type: ignore[arg-type]


def test_loss_is_that_of_all_scales_of_the_network() -> None:
    network, sample = SegAwareFlowNetS(0.0625, embedding=ColorEmbedding()), _sample()
    flows = network.forward_scales(sample.image1, sample.image2)
    assert list(flows) == [2, 4, 8, 16, 32, 64]
    wanted = MultiscaleEndPointLoss()(flows, sample.flow, sample.valid)
    torch.testing.assert_close(FlowStage(network, OPTIMIZATION).loss(sample), wanted)


def test_batch_without_truth_costs_nothing() -> None:
    stage = FlowStage(FlowNetS(0.0625), OPTIMIZATION)
    loss = stage.loss(_sample(known=False))
    loss.backward()
    assert loss.item() == 0
    for name, parameter in stage.network.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name
