"""Plain convolution, the limit: it knows no mask."""

import torch.nn.functional as F
from torch import Tensor


def convolution(input: Tensor, weight: Tensor, mask: Tensor | None, dilation: int) -> Tensor:
    """Convolve; the mask is left out."""
    return F.conv2d(input, weight, padding=dilation * (weight.shape[-1] // 2), dilation=dilation)
