"""The loss of FlowNet: end-point errors on every scale."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from segaware.ops.arguments import check_devices, check_tensor

FLOW_UNIT = 20.0  # pixels: networks predict, and the loss compares, flow in this unit, as the original did

# By stride; Dosovitskiy et al. 2015, as their training files have it.
_WEIGHTS = {4: 0.005, 8: 0.01, 16: 0.02, 32: 0.08, 64: 0.32}
_FINEST = 4


class MultiscaleEndPointLoss(nn.Module):
    """Sum the end-point errors of flows at several strides, coarse ones weighted more (Dosovitskiy et al. 2015).

    The loss of an image is sum_s w_s sum_p |flow_s(p) - truth(s p)| / 20 px over strides s and pixels p, with w_s =
    0.005, 0.01, 0.02, 0.08 and 0.32 at strides 4, 8, 16, 32 and 64. Strides 2 and 1, which the original does not have,
    weigh as much per area as stride 4: w_s = 0.005 (s / 4)^2. The truth at stride s is that of every s-th pixel, where
    such a flow is at home, so pixels without truth need no average.

    Example:
        >>> loss = MultiscaleEndPointLoss()
        >>> truth, valid = torch.zeros(1, 2, 64, 64), torch.ones(1, 64, 64, dtype=torch.bool)
        >>> loss({64: torch.tensor([12.0, 16.0]).view(1, 2, 1, 1)}, truth, valid)  # 0.32 * 20 px / 20 px
        tensor(0.3200)
    """

    def forward(self, flows: Mapping[int, Tensor], target: Tensor, valid: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar.

        Args:
            flows: By stride s flow in pixels, (N, 2, ceil(H / s), ceil(W / s)); flow (i, j) is that of pixel
                (s * i, s * j).
            target: True flow (N, 2, H, W) in pixels.
            valid: bool (N, H, W), where it is known.

        Raises:
            ValueError: If a stride has no weight, or shapes, dtypes or devices do not fit.
            TypeError: If what must be a tensor is none.
        """
        fits = lambda target: target.dim() == 4 and target.shape[1] == 2  # noqa: E731
        check_tensor("target", target, "a floating-point tensor of shape (N, 2, H, W)", fits)
        expected = (len(target), *target.shape[2:])
        wanted = f"a bool tensor of shape {expected}, as target of shape {tuple(target.shape)}"
        check_tensor("valid", valid, wanted, lambda valid: tuple(valid.shape) == expected, [torch.bool])
        total = target.new_zeros(())
        for stride, flow in flows.items():
            if stride not in _WEIGHTS and stride not in (1, 2):
                raise ValueError(f"flows must have strides among 1, 2, {', '.join(map(str, _WEIGHTS))}, got {stride}")
            check_tensor(f"flows[{stride}]", flow, "a floating-point tensor")
            check_devices(**{"target": target, "valid": valid, f"flows[{stride}]": flow})
            truth, known = target[:, :, ::stride, ::stride], valid[:, ::stride, ::stride]
            if flow.shape != truth.shape:
                raise ValueError(
                    f"flows: at stride {stride} of a {tuple(target.shape)} target the shape must be "
                    f"{tuple(truth.shape)}, got {tuple(flow.shape)}"
                )
            weight = _WEIGHTS.get(stride, _WEIGHTS[_FINEST] * (stride / _FINEST) ** 2)
            error = torch.linalg.vector_norm(flow.float() - truth, dim=1)
            total = total + weight / FLOW_UNIT * error[known].sum()
        return total / len(target)
