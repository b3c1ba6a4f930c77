"""OpenCV's bilateral filter: an RGB image by its own colours, with the summed absolute difference as distance.

Its window is the disc inside the square, with Gaussian weights; outside the image it reflects.
"""

import cv2
import torch
from torch import Tensor


def filter_by_colors(image: Tensor, kernel_size: int, sigma_color: float, sigma_space: float) -> Tensor:
    """Filter one float32 image (1, 3, H, W)."""
    cv2.setNumThreads(torch.get_num_threads())
    pixels = image[0].permute(1, 2, 0).contiguous().numpy()
    return torch.from_numpy(cv2.bilateralFilter(pixels, kernel_size, sigma_color, sigma_space)).permute(2, 0, 1)[None]
