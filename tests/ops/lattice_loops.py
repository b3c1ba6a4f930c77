"""The lattice, the exact Gaussian and mean field as loops in NumPy, and random pixels for them."""

import math
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def random_pixels(dimensions: int, channels: int, pixels: int, spread: float = 4.0) -> tuple[Tensor, Tensor]:
    """Features and values."""
    random = torch.Generator().manual_seed(dimensions * 100 + channels)
    features = spread * torch.rand(dimensions, pixels, generator=random)
    return features, torch.rand(channels, pixels, generator=random)


def numpy_gaussian(features: Tensor, values: Tensor) -> Array:
    """The exact sum, pair by pair."""
    f, v = features.double().numpy(), values.double().numpy()
    output = np.zeros(v.shape)
    for i, j in product(range(f.shape[1]), repeat=2):
        output[:, i] += math.exp(-sum((f[:, i] - f[:, j]) ** 2) / 2) * v[:, j]
    return output


def elevation(dimensions: int) -> Array:
    """The matrix (D + 1, D) whose columns are orthogonal and sum to 0, scaled as Adams et al. 2010, section 3.1."""
    matrix = np.zeros((dimensions + 1, dimensions))
    for i in range(dimensions):
        matrix[: i + 1, i] = 1
        matrix[i + 1, i] = -(i + 1)
    return math.sqrt(2 / 3) * (dimensions + 1) * matrix / np.linalg.norm(matrix, axis=0)


def corners(position: Array) -> tuple[list[tuple[int, ...]], Array]:
    """The corners of the simplex around a position in the plane, and its barycentric coordinates."""
    size = len(position)
    floor = size * np.floor(position / size)
    rounded = floor + size * np.array(list(product((0, 1), repeat=size)))
    rounded = rounded[rounded.sum(1) == 0]
    corner = rounded[np.argmin(((position - rounded) ** 2).sum(1))]
    found = [corner]
    for i in np.argsort(position - corner)[:-1]:
        corner = corner + 1
        corner[i] -= size
        found.append(corner)
    # The last coordinate follows from the others; weights sum to 1.
    equations = np.vstack([np.transpose(found)[:-1], np.ones(size)])
    weights = np.linalg.solve(equations, np.append(position[:-1], 1))
    assert (weights > -1e-9).all()
    return [tuple(map(int, corner)) for corner in found], weights


def numpy_lattice(features: Tensor, values: Tensor) -> Array:
    """Splat, blur and slice, with a dictionary of lattice points."""
    simplices = [corners(position) for position in features.double().numpy().T @ elevation(len(features)).T]
    nothing, points = np.zeros(len(values)), dict[tuple[int, ...], Array]()
    for value, (found, weights) in zip(values.double().numpy().T, simplices, strict=True):
        for corner, weight in zip(found, weights, strict=True):
            points[corner] = points.get(corner, nothing) + weight * value
    for axis in range(len(features) + 1):
        step = np.full(len(features) + 1, -1)
        step[axis] = len(features)
        points = {
            p: value + sum(points.get(tuple(int(x) for x in p + side * step), nothing) for side in (1, -1)) / 2
            for p, value in points.items()
        }
    pixels = [sum(w * points[c] for c, w in zip(found, weights, strict=True)) for found, weights in simplices]
    return np.stack(pixels, axis=1) / (1 + 2.0 ** -len(features))


def numpy_mean_field(log_probabilities: Tensor, kernels: list[Array], weights: list[float], iterations: int) -> Array:
    """With matrices K_ij, which are normalised here."""
    scores = log_probabilities.double().numpy()
    marginals = np.exp(scores) / np.exp(scores).sum(0)
    for _ in range(iterations):
        energy = scores.copy()
        for kernel, weight in zip(kernels, weights, strict=True):
            norm = 1 / np.sqrt(kernel.sum(1))
            energy += weight * (marginals @ (norm[:, None] * kernel * norm).T)
        marginals = np.exp(energy - energy.max(0))
        marginals /= marginals.sum(0)
    return marginals


def close(actual: Tensor, expected: Array | Tensor, tolerance: float = 1e-5) -> None:
    expected = torch.as_tensor(expected)
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)
