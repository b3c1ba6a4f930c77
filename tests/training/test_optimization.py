"""Optimization: which parameter gets which rate, and how the rate falls."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segaware.data import Sample
from segaware.training import OPTIMIZERS, Optimization, SegmentationStage
from segaware.training.optimization import milestones, polynomial, step

RATE, DECAY = 0.1, 0.25


class _Layer(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 1, bias=False)
        self.hardness = nn.Parameter(torch.tensor(3.0))


class _Network(nn.Module):
    """One parameter, or two, of every kind that is treated in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1_1 = nn.Linear(2, 1, bias=False)
        self.fc6 = _Layer()
        self.fc8 = nn.Linear(2, 1, bias=False)
        self.aspp = nn.ModuleList([nn.Linear(2, 1, bias=False)])
        self.embedding = nn.Sequential(nn.Linear(2, 1, bias=False))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        head = [*self.fc8.parameters(), *self.aspp.parameters()]
        return {"head": head, "embedding": list(self.embedding.parameters())}


FACTORS = {
    **{"conv1_1.weight": 1.0, "fc6.weight": 1.0, "fc6.hardness": 7.0},
    **{"fc8.weight": 5.0, "aspp.0.weight": 5.0, "embedding.0.weight": 0.5},
}


MULTIPLIERS = {"head": 5.0, "embedding": 0.5, "hardness": 7.0}


def _optimization(
    optimizer: str = "sgd", multipliers: dict[str, float] = MULTIPLIERS, power: float = 0.9
) -> Optimization:
    return Optimization(OPTIMIZERS[optimizer], partial(polynomial, power=power), RATE, DECAY, multipliers)


def _first_step(network: nn.Module, optimization: Optimization, gradient: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Take one step with the same gradient everywhere; return every parameter before and after it."""
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    configured = optimization.configure(network, steps=10)
    configured["optimizer"].step()
    return {name: (before[name], parameter.detach()) for name, parameter in network.named_parameters()}


def test_one_step_of_sgd_by_hand() -> None:
    steps = _first_step(_Network(), _optimization(), gradient=2.0)
    assert steps.keys() == FACTORS.keys()
    for name, (before, after) in steps.items():
        decay = 0.0 if name.endswith("hardness") else DECAY
        torch.testing.assert_close(after, before - RATE * FACTORS[name] * (2 + decay * before))


def test_adam_decays_everything_but_hardness_and_apart_from_the_gradient() -> None:
    for name, (before, after) in _first_step(_Network(), _optimization("adamw"), gradient=0.0).items():
        decay = 0.0 if name.endswith("hardness") else DECAY
        torch.testing.assert_close(after, before * (1 - RATE * FACTORS[name] * decay))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_multiplier_0_freezes(optimizer: str) -> None:
    for name, (before, after) in _first_step(
        _Network(), _optimization(optimizer, MULTIPLIERS | {"embedding": 0.0}), 2.0
    ).items():
        assert torch.equal(before, after) == name.startswith("embedding."), name


def test_frozen_parameters_have_no_gradient_and_do_not_move() -> None:
    network = _Network()
    optimization = replace(_optimization(), frozen=("conv1_1", "fc6.weight"))
    optimization.freeze(network)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {"fc6.hardness", "fc8.weight", "aspp.0.weight", "embedding.0.weight"}
    for name, (before, after) in _first_step(network, optimization, 2.0).items():
        assert torch.equal(before, after) == (name not in trained), name


def test_frozen_name_that_fits_nothing_is_an_error() -> None:
    for name, near in (("conv9", "conv1_1"), ("conv1_", "conv1_1"), ("fc6.weigh", "fc6.weight"), ("", "fc8")):
        with pytest.raises(
            ValueError, match=rf"^frozen: the network has no parameters at '{name}'; did you mean .*{near}"
        ):
            replace(_optimization(), frozen=(name,)).freeze(_Network())


def test_momentum() -> None:
    network = nn.Linear(1, 1, bias=False)
    configured = _optimization(power=0.0)
    configured = replace(configured, optimizer=partial(torch.optim.SGD, momentum=0.5), weight_decay=0.0).configure(
        network, 10
    )
    start = network.weight.item()
    for _ in range(2):
        network.weight.grad = torch.ones_like(network.weight)
        configured["optimizer"].step()
    assert network.weight.item() == pytest.approx(start - RATE * 1 - RATE * (0.5 * 1 + 1))


@pytest.mark.parametrize("power", [0.9, 2.0, 0.0])
def test_rate_falls_as_a_power_to_0(power: float) -> None:
    steps = 7
    configured = _optimization("sgd", power=power).configure(_Network(), steps)
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    assert schedule["interval"] == "step"
    wanted_factors = {1.0, 5.0, 0.5, 7.0}
    for i in range(steps + 1):
        rates = sorted(group["lr"] for group in optimizer.param_groups)
        wanted = sorted(RATE * factor * (1 - i / steps) ** power for factor in wanted_factors)
        assert rates == pytest.approx(wanted, rel=1e-12, abs=1e-15)
        optimizer.step()
        schedule["scheduler"].step()
    if power:
        assert max(rates) == 0


def test_rate_drops_to_a_tenth_instead() -> None:
    configured = replace(_optimization(), schedule=partial(step, every=3, factor=0.1)).configure(_Network(), steps=8)
    rates = []
    for _ in range(8):
        rates.append(configured["optimizer"].param_groups[0]["lr"])
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([RATE, RATE, RATE, RATE / 10, RATE / 10, RATE / 10, RATE / 100, RATE / 100])


def test_rate_falls_to_a_half_instead() -> None:
    configured = replace(_optimization(), schedule=partial(milestones, at=(2, 5), factor=0.5)).configure(
        _Network(), steps=7
    )
    rates = []
    for _ in range(7):
        rates.append(configured["optimizer"].param_groups[0]["lr"])
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([RATE, RATE, RATE / 2, RATE / 2, RATE / 2, RATE / 4, RATE / 4])


class _Refined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.refinement, self.fc7 = nn.Linear(1, 1), nn.Linear(1, 1)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"hardness": list(self.refinement.parameters())}


def test_refinement_learns_like_hardness() -> None:
    network = _Refined()
    optimization = replace(_optimization(), weight_decay=0.5)
    groups = optimization.configure(network, steps=1)["optimizer"].param_groups
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert found[id(network.refinement.weight)] == (RATE * optimization.multipliers["hardness"], 0.0)
    assert found[id(network.fc7.weight)] == (RATE, 0.5)


class _Normalised(nn.Module):
    """A trunk and a head with batch normalisation, in the trunk also one without parameters, and an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2, affine=False), nn.Dropout())
        self.embedding = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
        self.fc8 = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"head": list(self.fc8.parameters()), "embedding": list(self.embedding.parameters())}

    def forward(self, image: Tensor) -> Tensor:
        return self.fc8(self.trunk(image) + self.embedding(image))


FREEZING = [
    ({"frozen": ("trunk",)}, {"trunk"}),
    ({"frozen": ("trunk.1",)}, {"trunk.1"}),
    ({"multipliers": {"embedding": 0.0}}, {"embedding"}),
    ({"multipliers": {"head": 0.0}}, {"fc8"}),
    ({"frozen": ("trunk", "fc8"), "multipliers": {"embedding": 0.5}}, {"trunk", "fc8"}),
]


@pytest.mark.parametrize(("values", "frozen"), FREEZING)
def test_frozen_parts_are_what_they_are_in_evaluation(values: dict[str, Any], frozen: set[str]) -> None:
    """Statistics too: a training step must neither use those of its batch nor move the running ones."""
    network = _Normalised()
    stage = SegmentationStage(network, 2, replace(_optimization(), **values))
    stage.eval()
    stage.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    sample = Sample(torch.rand(4, 3, 5, 5) + 3, torch.zeros(4, 5, 5, dtype=torch.int64), "image")
    optimizer = stage.optimization.configure(network, steps=10)["optimizer"]
    stage.loss(sample).backward()
    optimizer.step()
    for name, tensor in network.state_dict().items():
        is_frozen = any(name == part or name.startswith(f"{part}.") for part in frozen)
        assert torch.equal(tensor, before[name]) == is_frozen, name
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == any(name.startswith(part) for part in frozen), name
    for part in frozen:
        module = network.get_submodule(part)
        image = torch.rand(4, *([3, 5, 5] if part in ("trunk", "embedding") else [2, 5, 5]))
        output = module(image)
        assert torch.equal(output, module.eval()(image))


def test_everything_frozen_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing is left to train: frozen="):
        replace(_optimization(), frozen=("trunk", "fc8"), multipliers={"embedding": 0.0}).freeze(_Normalised())
