"""Closed-form matting: what packages that cut out objects offer for finer borders."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_erosion
from torch import Tensor, nn

from segaware.extras import import_extra

_OBJECT, _GROUND = 240 / 255, 10 / 255  # probabilities beyond which rembg takes a pixel to be one
_ERODED = 10  # pixels of these that are solved for again


class ClosedFormMatting(nn.Module):
    """Find the opacity of every class: Levin et al., "A Closed-Form Solution to Natural Image Matting" (2008).

    By PyMatting, with the constants of rembg's `alpha_matting`: what is neither surely of the class nor surely not,
    and ten pixels around it, is solved for. A class of which nothing is sure keeps its probabilities.

    Raises:
        ModuleNotFoundError: PyMatting is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._matting = import_extra("pymatting", "closed-form matting needs PyMatting", "bench")

    def forward(self, probabilities: Tensor, image: Tensor) -> Tensor:
        """Return opacities for probabilities (N, C, H, W) of RGB images in 0..1 (N, 3, H, W); of two classes, one."""
        mattes = torch.empty_like(probabilities)
        for photograph, given, matte in zip(image, probabilities, mattes, strict=True):
            colors = photograph.permute(1, 2, 0).numpy(force=True).astype(np.float64)
            for index in range(len(given) == 2, len(given)):
                matte[index] = torch.from_numpy(self._opacity(colors, given[index].numpy(force=True))).to(given)
            if len(given) == 2:
                matte[0] = 1 - matte[1]
        return mattes

    def _opacity(self, colors: np.ndarray, probability: np.ndarray) -> np.ndarray:
        structure = np.ones((_ERODED, _ERODED))
        trimap = np.full(probability.shape, 0.5)
        trimap[binary_erosion(probability > _OBJECT, structure)] = 1
        trimap[binary_erosion(probability < _GROUND, structure, border_value=1)] = 0
        if not {0, 1, 0.5} <= set(np.unique(trimap)):
            return probability
        return self._matting.estimate_alpha_cf(colors, trimap)
