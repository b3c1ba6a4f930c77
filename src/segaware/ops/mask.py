"""Eq. 3: embedding distances become a local attention mask."""

from __future__ import annotations

import math

from torch import Tensor


def attention_mask(distance: Tensor, hardness: float | Tensor) -> Tensor:
    """Turn embedding distances into a soft mask: m = exp(-hardness * distance), Eq. 3 of Harley et al. 2017.

    The mask is 1 where the distance is 0 (so at the centre of every window) and falls towards 0 with distance.
    Hardness 0 makes a mask of ones, with which every operator here is its ordinary counterpart.

    Args:
        distance: Distances of any shape, usually (N, K, Ho, Wo) from `embedding_distance`.
        hardness: The paper's lambda, 0 or more; a float, or a tensor (for learning) that broadcasts to `distance`.

    Returns:
        The mask, with the shape and dtype of `distance`.

    Raises:
        ValueError: If `distance` is not floating-point, or `hardness` is a negative number (such a mask would prefer
            the other side of the border) or not finite.

    Example:
        >>> attention_mask(torch.tensor([0.0, 1.0, 2.0]), hardness=1.0)
        tensor([1.0000, 0.3679, 0.1353])
    """
    if not distance.is_floating_point():
        raise ValueError(f"distance must be a floating-point tensor, got {distance.dtype}")
    if not isinstance(hardness, Tensor) and not 0 <= hardness < math.inf:
        raise ValueError(f"hardness must be finite and 0 or more, got {hardness}")
    return (-hardness * distance).exp_().to(distance.dtype)
