"""Optimizer, learning rate schedule and freezing of every training stage."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, PolynomialLR, StepLR

from segaware.nn import parameter_groups


def polynomial(optimizer: Optimizer, steps: int, power: float) -> LRScheduler:
    """Let the rates fall as (1 - step / steps) ** power; a power of 0 keeps them."""
    return PolynomialLR(optimizer, total_iters=steps, power=power)


def step(optimizer: Optimizer, steps: int, every: int, factor: float) -> LRScheduler:
    """Multiply the rates by a factor after every so many steps."""
    return StepLR(optimizer, every, gamma=factor)


def milestones(optimizer: Optimizer, steps: int, at: tuple[int, ...], factor: float) -> LRScheduler:
    """Multiply the rates by a factor at each of these steps."""
    return MultiStepLR(optimizer, list(at), gamma=factor)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
"""What makes an optimizer, by the `type` that recipes name."""
SCHEDULES: dict[str, Callable[..., LRScheduler]] = {"polynomial": polynomial, "step": step, "milestones": milestones}
"""What makes a learning rate schedule, by the `type` that recipes name."""


@dataclass(frozen=True)
class Optimization:
    """How a stage is optimised.

    Attributes:
        optimizer: Makes the optimizer of parameter groups, such as ``partial(torch.optim.SGD, momentum=0.9)``.
        schedule: Makes the learning rate schedule of the optimizer and the number of steps of the training, such as
            ``partial(polynomial, power=0.9)``.
        learning_rate: Rate at the first step.
        weight_decay: Weight decay; never applied to the parameter group "hardness".
        multipliers: Factors on the rate by parameter group, see `segaware.nn.parameter_groups`; 1 for the others, and 0
            freezes a group.
        frozen: Names of submodules and parameters that are not trained, such as "fc6" or "fc6.hardness".
    """

    optimizer: Callable[[list[dict[str, Any]]], Optimizer]
    schedule: Callable[[Optimizer, int], LRScheduler]
    learning_rate: float
    weight_decay: float = 0.0
    multipliers: Mapping[str, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()

    def freeze(self, network: nn.Module) -> None:
        """Take the frozen parameters out of the training.

        Args:
            network: The network.

        Raises:
            ValueError: If there is no parameter of a name, or nothing is left to train.
        """
        names = [name for name, _ in network.named_parameters()]
        for part in self.frozen:
            if not any(_is_within(name, (part,)) for name in names):
                known = [name for name, _ in network.named_modules() if name] + names
                near = difflib.get_close_matches(part, known, n=3, cutoff=0.0)
                raise ValueError(
                    f"frozen: the network has no parameters at {part!r}; did you mean {' or '.join(near)}?"
                )
        for group, parameters in parameter_groups(network).items():
            for name, parameter in parameters.items():
                parameter.requires_grad_(not _is_within(name, self.frozen) and self._rate(group) > 0)
        if names and not any(parameter.requires_grad for parameter in network.parameters()):
            raise ValueError(
                f"nothing is left to train: frozen={list(self.frozen)} and multipliers of 0 freeze all {len(names)} "
                "parameters; train: null trains nothing"
            )

    def frozen_modules(self, network: nn.Module) -> list[nn.Module]:
        """Return the modules of which nothing is trained, so that they compute what they do in evaluation mode.

        Batch normalisation would use, and go on counting, the statistics of training batches otherwise.

        Args:
            network: The network.
        """
        modules = []
        for name, module in network.named_modules():
            parameters = list(module.parameters())
            # Without parameters of its own, as batch normalisation may be, a module is known by its name.
            is_frozen = not any(p.requires_grad for p in parameters) if parameters else _is_within(name, self.frozen)
            if is_frozen and (parameters or name):
                modules.append(module)
        return modules

    def configure(self, network: nn.Module, steps: int) -> dict[str, Any]:
        """Return optimizer and per-step schedule in the form Lightning's `configure_optimizers` wants."""
        groups = []
        for group, parameters in parameter_groups(network).items():
            trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
            if trained and self._rate(group) > 0:
                decay = 0.0 if group == "hardness" else self.weight_decay
                groups.append({"params": trained, "lr": self._rate(group), "weight_decay": decay})
        optimizer = self.optimizer(groups)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.schedule(optimizer, steps), "interval": "step"},
        }

    def _rate(self, group: str) -> float:
        return self.learning_rate * self.multipliers.get(group, 1.0)


def _is_within(name: str, parts: tuple[str, ...]) -> bool:
    """Tell whether a dotted name is that of one of these parts of a network, or of something inside of it."""
    return any(f"{name}.".startswith(f"{part}.") for part in parts)
