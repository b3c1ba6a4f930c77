"""Optimizer and learning rate of every training stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn


@dataclass(frozen=True)
class Optimization:
    """How a stage is optimised.

    Attributes:
        optimizer: "sgd" with momentum, or "adam" (decoupled weight decay).
        learning_rate: Rate at the first step.
        momentum: Momentum of SGD.
        weight_decay: Weight decay; never applied to hardness and refinement.
        power: The rate falls as (1 - step / steps) ** power; 0 keeps it.
        drop_every: Instead, the rate falls to a tenth after every so many steps.
        halve_at: Instead, the rate falls to a half at each of these steps.
        head_multiplier: Factor on the rate of the classifier, fc8 or aspp. This factor and the next two freeze what
            they belong to where they are 0.
        embedding_multiplier: Factor on the rate of an embedding network inside a task network.
        hardness_multiplier: Factor on the rate of hardness, and of all that a refinement learns: the bandwidths and
            class weights of a CRF too.
        frozen: Beginnings of the names of parameters that are not trained.
    """

    optimizer: Literal["sgd", "adam"]
    learning_rate: float
    momentum: float
    weight_decay: float
    power: float
    head_multiplier: float = 1.0
    embedding_multiplier: float = 1.0
    hardness_multiplier: float = 1.0
    frozen: tuple[str, ...] = ()
    drop_every: int | None = None
    halve_at: tuple[int, ...] = ()

    def freeze(self, network: nn.Module) -> None:
        """Take the frozen parameters out of the training.

        Args:
            network: The network.

        Raises:
            ValueError: If a name fits no parameter, or nothing is left to train.
        """
        names = [name for name, _ in network.named_parameters()]
        for start in self.frozen:
            if not any(name.startswith(start) for name in names):
                raise ValueError(
                    f"frozen: no parameter's name begins with {start!r}; there are {', '.join(names[:6])} ..."
                )
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.startswith(self.frozen) and self._rate(name) > 0)
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
            is_frozen = not any(p.requires_grad for p in parameters) if parameters else name.startswith(self.frozen)
            if is_frozen and (parameters or name):
                modules.append(module)
        return modules

    def configure(self, network: nn.Module, steps: int) -> dict[str, Any]:
        """Return optimizer and per-step schedule in the form Lightning's `configure_optimizers` wants."""
        groups = self._groups(network)
        optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum)
            if self.optimizer == "sgd"
            else torch.optim.AdamW(groups, lr=self.learning_rate)
        )
        schedule: torch.optim.lr_scheduler.LRScheduler = (
            torch.optim.lr_scheduler.StepLR(optimizer, self.drop_every, gamma=0.1)
            if self.drop_every is not None
            else torch.optim.lr_scheduler.MultiStepLR(optimizer, list(self.halve_at), gamma=0.5)
            if self.halve_at
            else torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=self.power)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _groups(self, network: nn.Module) -> list[dict[str, Any]]:
        groups: dict[str, dict[str, Any]] = {}
        for name, parameter in network.named_parameters():
            kind = _kind(name)
            decay = 0.0 if kind == "hardness" else self.weight_decay
            if parameter.requires_grad and self._rate(name) > 0:
                group = groups.setdefault(kind, {"params": [], "lr": self._rate(name), "weight_decay": decay})
                group["params"].append(parameter)
        return [groups[kind] for kind in _KINDS if kind in groups]

    def _rate(self, name: str) -> float:
        factors = {
            "base": 1.0,
            "head": self.head_multiplier,
            "embedding": self.embedding_multiplier,
            "hardness": self.hardness_multiplier,
        }
        return self.learning_rate * factors[_kind(name)]


_KINDS = ("base", "head", "embedding", "hardness")  # the order of the optimizer's groups, which checkpoints go by


def _kind(name: str) -> Literal["base", "head", "embedding", "hardness"]:
    if name.endswith("hardness") or name.startswith("refinement."):
        return "hardness"
    if name.startswith("embedding."):
        return "embedding"
    return "head" if name.startswith(("fc8.", "aspp.")) else "base"
