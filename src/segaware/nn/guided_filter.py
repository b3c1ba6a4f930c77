"""The guided filter: what an edge-aware filter on colours does without windows of weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.ops.arguments import check_devices, check_image, check_integer, check_rgb, is_number


class GuidedFilter(nn.Module):
    """Smooth an input along a colour image: He, Sun & Tang, "Guided Image Filtering" (2010), of colour guides.

    In every window the output is a linear function of the colours, that which fits the input best; of the windows that
    see a pixel the mean is taken. It has nothing to learn. At the image's edges, windows end there, as in the authors'
    code; OpenCV's `ximgproc.guidedFilter` mirrors the image instead.

    Args:
        radius: Windows have a side of 2 * radius + 1 pixels.
        epsilon: What variance of colour counts as an edge, of colours in 0..1: more smooths more.

    Raises:
        ValueError: `radius` is no positive integer, or `epsilon` not positive.

    Example:
        >>> GuidedFilter(radius=4, epsilon=1e-3)(torch.rand(1, 2, 30, 40), torch.rand(1, 3, 30, 40)).shape
        torch.Size([1, 2, 30, 40])
    """

    def __init__(self, radius: int = 8, epsilon: float = 1e-3) -> None:
        super().__init__()
        self.radius = check_integer("radius", radius, 1)
        if not is_number(epsilon) or epsilon <= 0:
            raise ValueError(f"epsilon must be a positive number, got {epsilon!r}")
        self.epsilon = float(epsilon)

    def forward(self, input: Tensor, image: Tensor) -> Tensor:
        """Return the filtered input.

        Args:
            input: What to filter, such as probabilities, (N, C, H, W).
            image: RGB images in 0..1, (N, 3, H, W).

        Raises:
            ValueError: Shapes or devices do not fit.
            TypeError: If what must be a tensor is none.
        """
        check_image("input", input)
        check_rgb("image", image)
        if input.shape[-2:] != image.shape[-2:] or len(input) != len(image):
            raise ValueError(f"input must be of the image's size {tuple(image.shape)}, got {tuple(input.shape)}")
        check_devices(input=input, image=image)
        mean_color, mean_input = self._mean(image), self._mean(input)
        covariance = self._mean_products(image, image) - mean_color[:, :, None] * mean_color[:, None]
        with_input = self._mean_products(image, input) - mean_color[:, :, None] * mean_input[:, None]
        regular = covariance.permute(0, 3, 4, 1, 2) + self.epsilon * torch.eye(3).to(image)
        slope = torch.linalg.solve(regular, with_input.permute(0, 3, 4, 1, 2)).permute(0, 3, 4, 1, 2)
        offset = mean_input - (slope * mean_color[:, :, None]).sum(1)
        mean_slope = self._mean(slope.flatten(1, 2)).unflatten(1, slope.shape[1:3])
        return (mean_slope * image[:, :, None]).sum(1) + self._mean(offset)

    def _mean_products(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the means of all products of channels, (N, A, B, H, W)."""
        return self._mean((a[:, :, None] * b[:, None]).flatten(1, 2)).unflatten(1, (a.shape[1], b.shape[1]))

    def _mean(self, pixels: Tensor) -> Tensor:
        """Return the means of windows, by sums from the image's edge on, whose cost does not grow with the radius."""
        r = self.radius
        means = pixels.cpu() if pixels.device.type == "mps" else pixels  # which has no float64
        means = means.double()  # a window's sum is a small difference of two that are large
        for dim in (-2, -1):
            length = means.shape[dim]
            middle = torch.arange(length, device=means.device)
            counts = (middle + r + 1).clamp(max=length) - (middle - r).clamp(min=0)
            margins = (0, 0) * (-1 - dim) + (r + 1, r)
            sums = F.pad(means, margins).cumsum(dim)
            means = sums.narrow(dim, 2 * r + 1, length) - sums.narrow(dim, 0, length)
            means /= counts.view(-1, *[1] * (-1 - dim))
        return means.to(pixels.device, pixels.dtype)

    def extra_repr(self) -> str:
        """Describe the filter."""
        return f"radius={self.radius}, epsilon={self.epsilon:g}"
