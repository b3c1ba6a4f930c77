"""pydensecrf, the Python wrapper of Kraehenbuehl & Koltun's C++ code: one thread, one image at a time."""

import numpy as np
import pydensecrf.densecrf
import torch
from torch import Tensor


def dense_crf(
    log_probabilities: Tensor,
    image: Tensor,
    *,
    gaussian_sxy: float = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float = 80.0,
    bilateral_srgb: float = 13.0,
    bilateral_compat: float = 10.0,
    iterations: int = 10,
) -> Tensor:
    """Refine log-probabilities (C, H, W) of a uint8 image (3, H, W); options are those of `segaware.nn.dense_crf`."""
    classes, height, width = log_probabilities.shape
    crf = pydensecrf.densecrf.DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(-log_probabilities.flatten(1).numpy())
    crf.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_compat)
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    crf.addPairwiseBilateral(sxy=bilateral_sxy, srgb=bilateral_srgb, rgbim=pixels, compat=bilateral_compat)
    return torch.from_numpy(np.array(crf.inference(iterations))).view(classes, height, width)
