"""The mask of a CRF's neighbours: the contract."""

from __future__ import annotations

import torch
from torch import Tensor

from segaware.ops._backends import choose_backend
from segaware.ops.neighbour_mask import library, reference


def neighbour_mask(distance: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor, overwrite: bool) -> Tensor:
    """Return exp(-hardness * d + rows + columns) of every tap but the centre, over its sum or largest value.

    Which of the two makes no difference to a filter, which divides by the sum.

    Args:
        distance: Distances (N, KH * KW, H, W), floating-point, taps in the order of `F.unfold`.
        hardness: A scalar tensor.
        rows: What is added at the rows of taps, (KH, H), in the dtype of `distance`.
        columns: What is added at their columns, (KW, W).
        overwrite: Whether `distance` may be written over where no gradient is recorded: a mask is large.

    Returns:
        The mask (N, KH * KW, H, W), in the dtype of `distance`.

    Example:
        >>> distance, zeros = torch.tensor([0.0, 0.0, 9.0]).view(1, 3, 1, 1), torch.zeros(1, 1)
        >>> neighbour_mask(distance, torch.tensor(0.0), zeros, torch.zeros(3, 1), overwrite=False).flatten()
        tensor([0.5000, 0.0000, 0.5000])
    """
    overwrite = overwrite and not torch.is_grad_enabled()
    chosen = choose_backend(None, distance.device)
    # The kernels have no gradient.
    if chosen != "reference" and distance.dtype == torch.float32 and not torch.is_grad_enabled():
        mask = distance if overwrite else distance.clone(memory_format=torch.contiguous_format)
        library.neighbour_mask_(mask, hardness, rows, columns, chosen)
        return mask
    return reference.neighbour_mask(distance, hardness, rows, columns, overwrite)
