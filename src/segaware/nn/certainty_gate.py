"""What is certain stays as it is: how much of a filter pixels take."""

from __future__ import annotations

from torch import Tensor

_UNSURE = 0.1  # pixels with this margin to certainty, or more, are filtered in full


def certainty_gate(probabilities: Tensor, exclusive: bool = True) -> Tensor:
    """Return how much of a filter pixels should take: nothing where they are certain, all where they are unsure.

    A filter does harm to a border that is right, and deletes what is thinner than its window. So what is as sharp as
    pixels are is left alone, and where a coarse grid or a network have blurred a border over some pixels, all of these
    are filtered. `segaware.refine` takes `probabilities.lerp(filtered, certainty_gate(probabilities))`.

    Args:
        probabilities: (N, C, H, W).
        exclusive: Whether the channels are those of classes that exclude each other, and not of a mask each.

    Returns:
        Numbers in 0..1, (N, 1, H, W), or (N, C, H, W) of masks: 0 where the most probable of two has 1, and 1 where it
        has 0.95 or less.

    Example:
        >>> import torch
        >>> certainty_gate(torch.tensor([1.0, 0.98, 0.6]).view(1, 3, 1, 1), exclusive=False)[0, :, 0, 0]
        tensor([0.0000, 0.4000, 1.0000])
    """
    most = probabilities.amax(1, keepdim=True) if exclusive else (probabilities - 0.5).abs() + 0.5
    unsure = 2 - 2 * most  # the margin of the most probable of two classes over the other, to 1
    return (unsure / _UNSURE).clamp(0, 1)
