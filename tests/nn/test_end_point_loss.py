"""The loss against a loop over pixels."""

import math

import pytest
import torch

from segaware.nn import MultiscaleEndPointLoss

WEIGHTS = {64: 0.32, 32: 0.08, 16: 0.02, 8: 0.01, 4: 0.005, 2: 0.00125, 1: 0.0003125}


@pytest.mark.parametrize("strides", [(4, 8, 16, 32, 64), (2, 4, 8, 16, 32, 64), (1,)])
def test_loss_by_hand(strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    target, valid = 10 * torch.randn(2, 2, 35, 70), torch.rand(2, 35, 70) > 0.3
    flows = {s: 10 * torch.randn(2, 2, -(-35 // s), -(-70 // s)) for s in strides}
    total = 0.0
    for stride, flow in flows.items():
        for n in range(2):
            for i in range(flow.shape[2]):
                for j in range(flow.shape[3]):
                    if valid[n, stride * i, stride * j]:
                        error = (flow[n, :, i, j] - target[n, :, stride * i, stride * j]).tolist()
                        total += WEIGHTS[stride] * math.hypot(*error) / 20
    assert MultiscaleEndPointLoss()(flows, target, valid).item() == pytest.approx(total / 2, rel=1e-5)


def test_unknown_flow_costs_nothing_and_has_no_gradient() -> None:
    flow = torch.randn(1, 2, 8, 8, requires_grad=True)
    valid = torch.zeros(1, 32, 32, dtype=torch.bool)
    valid[0, 4, 8] = True
    MultiscaleEndPointLoss()({4: flow}, torch.zeros(1, 2, 32, 32), valid).backward()
    assert flow.grad is not None and flow.grad.nonzero().tolist() == [[0, 0, 1, 2], [0, 1, 1, 2]]


def test_right_flow_has_a_finite_gradient() -> None:
    flow = torch.zeros(1, 2, 8, 8, requires_grad=True)
    MultiscaleEndPointLoss()({4: flow}, torch.zeros(1, 2, 32, 32), torch.ones(1, 32, 32) > 0).backward()
    assert flow.grad is not None and not flow.grad.any()


@pytest.mark.parametrize(
    ("flows", "message"),
    [
        ({3: torch.zeros(1, 2, 11, 11)}, "strides among 1, 2, 4, 8, 16, 32, 64, got 3"),
        ({4: torch.zeros(1, 2, 9, 8)}, r"at stride 4 .* must be \(1, 2, 8, 8\), got \(1, 2, 9, 8\)"),
    ],
)
def test_bad_flows(flows: dict[int, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiscaleEndPointLoss()(flows, torch.zeros(1, 2, 32, 32), torch.ones(1, 32, 32) > 0)
