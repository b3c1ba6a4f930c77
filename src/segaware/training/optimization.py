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
        head_multiplier: Factor on the rate of the classifier, fc8 or aspp.
        embedding_multiplier: Factor on the rate of an embedding network inside a task network; 0 freezes it.
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

        Raises:
            ValueError: If a name fits no parameter.
        """
        names = [name for name, _ in network.named_parameters()]
        for start in self.frozen:
            if not any(name.startswith(start) for name in names):
                raise ValueError(
                    f"frozen: no parameter's name begins with {start!r}; there are {', '.join(names[:6])} ..."
                )
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.startswith(self.frozen) if self.frozen else True)

    def configure(self, network: nn.Module, steps: int) -> dict[str, Any]:
        """Return optimizer and per-step schedule in the form Lightning's `configure_optimizers` wants."""
        groups = [group for group in self._groups(network) if group["lr"] > 0]
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
        groups: dict[str, dict[str, Any]] = {
            "base": {"params": [], "lr": self.learning_rate, "weight_decay": self.weight_decay},
            "head": {"params": [], "lr": self.learning_rate * self.head_multiplier, "weight_decay": self.weight_decay},
            "embedding": {
                "params": [],
                "lr": self.learning_rate * self.embedding_multiplier,
                "weight_decay": self.weight_decay,
            },
            "hardness": {"params": [], "lr": self.learning_rate * self.hardness_multiplier, "weight_decay": 0.0},
        }
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            kind = (
                "hardness"
                if name.endswith("hardness") or name.startswith("refinement.")
                else "embedding"
                if name.startswith("embedding.")
                else "head"
                if name.startswith(("fc8.", "aspp."))
                else "base"
            )
            groups[kind]["params"].append(parameter)
        return [group for group in groups.values() if group["params"]]
