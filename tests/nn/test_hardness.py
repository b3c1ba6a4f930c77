"""A hardness is never negative, may start at 0 and can leave it."""

import math
from collections.abc import Callable, Iterable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.nn import BilateralFilter2d, SegAwareConv2d, clamp_hardness
from segaware.nn.hardness import hardness_parameter, nonnegative
from segaware.ops import attention_mask, embedding_distance, segaware_conv2d

Parameters = Iterable[nn.Parameter]
OptimizerOf = Callable[[Parameters], torch.optim.Optimizer]

OPTIMIZERS: dict[str, OptimizerOf] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.05),
}


@pytest.fixture(params=OPTIMIZERS)
def optimizer_of(request: pytest.FixtureRequest) -> OptimizerOf:
    return OPTIMIZERS[request.param]


def two_regions(within_regions: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Noise, an embedding that steps in the middle, and a random convolution of the noise as the target.

    The target's convolution sees the pixels of its own region, or all.
    """
    input, embedding = torch.randn(4, 2, 10, 10), torch.zeros(4, 1, 10, 10)
    embedding[..., 5:] = 1
    mask = attention_mask(embedding_distance(embedding, 3, padding=1), 20.0 if within_regions else 0.0)
    return input, embedding, segaware_conv2d(input, torch.randn(3, 2, 3, 3), mask, padding=1)


def train(network: Callable[[], Tensor], target: Tensor, optimizer: torch.optim.Optimizer, steps: int = 100) -> float:
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (network() - target).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_is_used_from_0_up() -> None:
    parameter = torch.tensor([-1.0, 0.0, 2.0])
    assert torch.equal(nonnegative(parameter), torch.tensor([0.0, 0.0, 2.0]))


def test_gradient_below_and_at_0_lets_it_grow_but_not_sink() -> None:
    parameter = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    wants_to_sink, wants_to_grow = torch.full((3,), 3.0), torch.full((3,), -3.0)
    for gradient, expected in ((wants_to_sink, [0.0, 0.0, 3.0]), (wants_to_grow, [-3.0, -3.0, -3.0])):
        (received,) = torch.autograd.grad(nonnegative(parameter), parameter, gradient)
        assert received.tolist() == expected


def test_learns_a_mask_from_0_where_one_helps(optimizer_of: OptimizerOf) -> None:
    input, embedding, target = two_regions(within_regions=True)
    plain = nn.Conv2d(2, 3, 3, padding=1)
    layer = SegAwareConv2d(2, 3, 3, padding=1, hardness=0.0)
    layer.load_state_dict(plain.state_dict())
    plain_loss = train(lambda: plain(input), target, optimizer_of(plain.parameters()))
    loss = train(lambda: layer(input, embedding), target, optimizer_of(layer.parameters()))
    assert layer.hardness.item() > 1
    assert loss < plain_loss / 10


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_learns_no_mask_where_one_hurts(start: float, optimizer_of: OptimizerOf) -> None:
    input, embedding, target = two_regions(within_regions=False)
    layer = SegAwareConv2d(2, 3, 3, padding=1, hardness=start)
    optimizer, used = optimizer_of(layer.parameters()), []
    for _ in range(10):
        loss = train(lambda: layer(input, embedding), target, optimizer, steps=15)
        used.append(nonnegative(layer.hardness).item())
    assert min(used) >= 0
    assert used[-1] < 0.01
    assert loss < 0.01


def test_a_parameter_below_0_acts_as_0_and_comes_back() -> None:
    input, embedding, target = two_regions(within_regions=True)
    layer = SegAwareConv2d(2, 3, 3, padding=1)
    with torch.no_grad():
        layer.hardness.fill_(-0.5)
    torch.testing.assert_close(layer(input, embedding), F.conv2d(input, layer.weight, layer.bias, padding=1))
    train(lambda: layer(input, embedding), target, torch.optim.SGD(layer.parameters(), lr=0.1))
    assert layer.hardness.item() > 1


def test_a_filter_can_leave_0_too() -> None:
    clean, embedding = torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 12)
    clean[..., 6:] = embedding[..., 6:] = 1
    noisy, layer = clean + 0.1 * torch.randn_like(clean), BilateralFilter2d(5, hardness=0.0)
    train(lambda: layer(noisy, embedding), clean, torch.optim.Adam(layer.parameters(), lr=0.05))
    assert layer.hardness.item() > 1


def test_clamp_reaches_every_hardness_and_nothing_else() -> None:
    network = nn.Sequential(
        SegAwareConv2d(1, 1, 1, hardness=0.3), nn.Sequential(BilateralFilter2d(3)), nn.Conv2d(1, 1, 1)
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(0.3 if name == "0.hardness" else -0.2)
    clamp_hardness(network)
    values = {name: round(parameter.item(), 4) for name, parameter in network.named_parameters()}
    weights = dict.fromkeys(("0.weight", "0.bias", "2.weight", "2.bias"), -0.2)
    assert values == {"0.hardness": 0.3, "1.0.hardness": 0.0, **weights}


def test_the_parameter_is_a_learnable_float32_scalar() -> None:
    hardness = hardness_parameter(2)
    assert isinstance(hardness, nn.Parameter) and hardness.requires_grad
    assert (hardness.dtype, hardness.shape, hardness.item()) == (torch.float32, (), 2.0)


@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf])
def test_a_bad_start_is_named(value: float) -> None:
    for build in (
        hardness_parameter,
        lambda h: SegAwareConv2d(1, 1, 3, hardness=h),
        lambda h: BilateralFilter2d(3, hardness=h),
    ):
        with pytest.raises(ValueError, match=f"^hardness must be finite and 0 or more, got {value}"):
            build(value)
