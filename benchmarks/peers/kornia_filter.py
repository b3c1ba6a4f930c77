"""Kornia's joint bilateral filter.

Its weight is exp(-d^2 / (2 sigma_color^2)), so with the L2 distance it is our filter with the squared Euclidean metric,
where the window lies inside the image; outside, Kornia reflects the image.
"""

from kornia.filters import joint_bilateral_blur
from torch import Tensor


def bilateral_filter(input: Tensor, embedding: Tensor, kernel_size: int, hardness: float) -> Tensor:
    """Filter under the mask of an embedding; the spatial weight is so wide that it is constant."""
    sigma_color = (0.5 / hardness) ** 0.5
    return joint_bilateral_blur(input, embedding, kernel_size, sigma_color, (1e4, 1e4), color_distance_type="l2")
