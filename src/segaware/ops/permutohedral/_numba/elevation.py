"""Features become positions in the plane of the permutohedral lattice, rounded as decides where they lie."""

from __future__ import annotations

import math

import numpy as np

from segaware.ops.permutohedral.limits import FARTHEST

_FAR = 2.0**12  # standard deviations from 0, where float32 begins to be too coarse for a place among lattice points


def elevate(features: np.ndarray) -> np.ndarray:
    """Return features (D, N) in the plane, (D + 1, N), scaled so that the whole filter has standard deviation 1.

    On borders of simplices, where integer features often are, the last bit decides. So that lattices are the same as
    those of Kraehenbuehl's code, everything is rounded as it is there: to float32, after each operation. Features that
    are far from 0 are dealt with in float64.
    """
    size = len(features) + 1
    number: type[np.floating] = np.float32
    if not -_FAR < features.min() <= features.max() < _FAR:
        features, number = _moved_to_zero(features.astype(np.float64)), np.float64
    features = features.astype(number, copy=False)
    deviation = float(number(math.sqrt(2 / 3) * size))
    elevated, total = np.empty((size, features.shape[1]), number), np.zeros(features.shape[1], number)
    for i in range(size - 1, 0, -1):
        scaled = features[i - 1] * number(1 / math.sqrt(i * (i + 1)) * deviation)
        elevated[i] = total - number(i) * scaled
        total += scaled
    elevated[0] = total
    return elevated


def _moved_to_zero(features: np.ndarray) -> np.ndarray:
    """Return features (D, N) around 0; they are moved by whole periods, along which the lattice looks the same."""
    i = np.arange(1, len(features) + 1)[:, None]
    period = np.sqrt(1.5 * i * (i + 1))
    middle = features.min(1, keepdims=True) / 2 + features.max(1, keepdims=True) / 2
    features = features - np.rint(middle / period) * period
    reach = np.abs(features).max()
    if not reach < FARTHEST / 2:
        raise ValueError(
            f"features must be finite and less than {FARTHEST:.1g} standard deviations apart, got {2 * reach:.2g}: "
            "divide them by larger bandwidths"
        )
    return features
