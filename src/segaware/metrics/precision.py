"""Double precision (float64), which Apple's MPS devices do not have: there it is on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps

import torch
from torch import Tensor
from torchmetrics import Metric


def double_device(device: torch.device) -> torch.device:
    """Return where float64 tensors that belong to a device are: there, or on the CPU if it takes none."""
    return torch.device("cpu") if device.type == "mps" else device


def to_double(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on its `double_device`."""
    return tensor.to(double_device(tensor.device)).double()


class DoubleMetric(Metric):
    """A metric whose float64 states and results stay on the CPU when it goes to a device that takes none."""

    is_differentiable = False
    full_state_update = False

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = "") -> torch.nn.Module:
        @wraps(fn)  # by whose name torchmetrics tells a change of type from one of device
        def move(tensor: Tensor) -> Tensor:
            if tensor.dtype == torch.float64:
                target = fn(torch.empty(0, device=tensor.device)).device
                if double_device(target) != target:
                    return tensor.to(double_device(target))
            return fn(tensor)

        return super()._apply(move, exclude_state)
