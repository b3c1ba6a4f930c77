"""Gaussian filtering by any features, and the mean field of a fully connected CRF: the contract."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache, partial, reduce
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from segaware.ops._backends import Backend, choose_backend
from segaware.ops.arguments import (
    check_devices,
    check_finite,
    check_iterations,
    check_tensor,
    compute_dtype,
    is_number,
)
from segaware.ops.permutohedral import library, reference

Normalization: TypeAlias = Literal["none", "symmetric"]

_MISSING = {"triton": "the permutohedral lattice has no GPU kernel"}
_LOGGER = logging.getLogger(__name__)


def _choose_backend(requested: Backend | None, device: torch.device) -> Backend:
    """Return the lattice if nothing else is asked for: the reference is another algorithm, not a slower lattice."""
    backend = choose_backend(requested, torch.device("cpu"), _MISSING, automatic="numba")
    if backend == "numba" and device.type != "cpu" and not torch.compiler.is_compiling():
        _log_copies(device.type)
    return backend


@cache
def _log_copies(device: str) -> None:
    """Tell the log once that tensors of a device are copied."""
    _LOGGER.info(
        "%s tensors: the permutohedral lattice is computed on the CPU; features and values are copied there, and the "
        "result back",
        device,
    )


class PermutohedralLattice:
    """Gaussian filter in feature space, y_i = sum_j exp(-|f_i - f_j|^2 / 2) v_j over all pixels j.

    Built once from the features of an image, it filters any number of values, in a time that is linear in the number of
    pixels: values are interpolated onto a lattice in feature space, blurred there, and read from it (Adams, Baek &
    Davis 2010), in the order and with the scale of Kraehenbuehl & Koltun's code (2011). Sums come out 8 % (one feature)
    to 29 % (five) too small, and single weights are less exact than that. With symmetric normalisation, which cancels
    scales, what comes out for values of 0 and 1 is within 0.02 of the exact filter, on average.

    Args:
        features: Features of all pixels, (D, H, W) or of any other shape (D, ...), already divided by the standard
            deviation that the Gaussian shall have along each of them: positions, or positions and colours.
        normalization: "none"; or "symmetric", with exp(..)_ij divided by sqrt(sum_k exp(..)_ik * sum_k exp(..)_jk).
        backend: "numba", the lattice, in float32; "reference", the exact sum over all pairs of pixels, whose time is
            quadratic; or None for what `use_backend` chose, by default the lattice, for tensors on any device: it is
            computed on the CPU, and the result moved back.

    Raises:
        ValueError: If features have no pixels, are not finite, or are so far apart that lattice points cannot be
            numbered, at most 1e9 standard deviations; or if `normalization` is none of the two.
        TypeError: If features are no tensor.
        RuntimeError: If the backend that was asked for, or by default the lattice, cannot run here.

    Example:
        >>> position = torch.arange(5.0)[None]
        >>> impulse = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]])
        >>> PermutohedralLattice(position, backend="reference").filter(impulse)
        tensor([[0.1353, 0.6065, 1.0000, 0.6065, 0.1353]])
        >>> PermutohedralLattice(position).filter(impulse)
        tensor([[0.1151, 0.5715, 0.8576, 0.5617, 0.1544]])
    """

    def __init__(self, features: Tensor, normalization: Normalization = "none", backend: Backend | None = None) -> None:
        _check_features("features", features)
        if normalization not in get_args(Normalization):
            raise ValueError(f"normalization must be one of {get_args(Normalization)}, got {normalization!r}")
        self.size = features.shape[1:]
        self.device = features.device
        symmetric = normalization == "symmetric"
        self._filter: Callable[[Tensor], Tensor]
        if _choose_backend(backend, features.device) == "numba":
            from segaware.ops.permutohedral._numba import filtering, lattice

            self._dtype = torch.float32
            built = lattice.build([_flat(features, compute_dtype(features))], [1.0], symmetric)
            self._filter = partial(filtering.filter, built)
        else:
            self._dtype = compute_dtype(features)
            points = _flat(features, self._dtype)
            exact = partial(reference.gaussian_filter, points)
            self._filter = reference.symmetric_filter(points) if symmetric else exact

    def filter(self, values: Tensor) -> Tensor:
        """Filter values (C, H, W), or (C, ...) as the features are shaped; there is no gradient.

        Args:
            values: (C, H, W), or (C, ...) as the features are shaped, floating-point.

        Raises:
            ValueError: If values do not have the pixels of the features, or lie on another device.
            TypeError: If they are no tensor.
        """
        wanted = f"a floating-point tensor of shape (C, {', '.join(map(str, self.size))}), as the features"
        check_tensor("values", values, wanted, lambda values: values.shape[1:] == self.size and len(values) > 0)
        if values.device != self.device:
            raise ValueError(
                f"values and features must be on the same device, got values on {values.device} and features on "
                f"{self.device}"
            )
        return self._filter(_flat(values, self._dtype)).view(values.shape).to(values)


@torch.no_grad()
def mean_field(
    log_probabilities: Tensor,
    features: Sequence[Tensor],
    weights: Sequence[float],
    iterations: int,
    backend: Backend | None = None,
) -> Tensor:
    """Mean field of a fully connected CRF, Q' = softmax(log P + sum_m w_m K_m Q), Kraehenbuehl & Koltun 2011.

    Pixels whose features are alike pull each other towards the same class (Potts compatibility; Eq. 5-6 of Harley et
    al. 2017). K_m is the symmetrically normalised filter of `PermutohedralLattice`. `nn.dense_crf` is this with
    positions and colours as features.

    Args:
        log_probabilities: Log-probabilities of the classes, (C, H, W), or of any other shape (C, ...). They are finite,
            which is not checked within `torch.compile` and `torch.export`.
        features: Of every filter, (D, H, W), already divided by standard deviations.
        weights: One finite number per filter, w_m.
        iterations: How often the marginals are updated; 0 gives back the probabilities.
        backend: As for `PermutohedralLattice`.

    Returns:
        The marginals Q, with the shape and dtype of `log_probabilities`; they carry no gradient.

    Raises:
        ValueError: If shapes or devices do not fit, a value is out of range, or features are as `PermutohedralLattice`
            refuses them.
        TypeError: If what must be a tensor is none.
        RuntimeError: If the backend that was asked for, or by default the lattice, cannot run here.

    Example:
        >>> unsure = torch.tensor([[0.9, 0.4, 0.9, 0.1], [0.1, 0.6, 0.1, 0.9]]).log()
        >>> brightness = torch.tensor([[0.0, 0.1, 0.0, 9.0]])  # the second pixel is like the first
        >>> mean_field(unsure, [brightness], [3.0], iterations=5, backend="reference").argmax(0)
        tensor([0, 0, 0, 1])
    """
    wanted = "a floating-point tensor of shape (C, H, W), with classes and pixels"
    check_tensor("log_probabilities", log_probabilities, wanted, _has_pixels)
    check_finite("log_probabilities", log_probabilities)
    size = log_probabilities.shape[1:]
    for i, feature in enumerate(features):
        _check_features(f"features[{i}]", feature)
        if feature.shape[1:] != size:
            raise ValueError(
                f"features[{i}] must have the pixels of log_probabilities, shape (D, {', '.join(map(str, size))}), "
                f"got {tuple(feature.shape)}"
            )
        check_devices(**{"log_probabilities": log_probabilities, f"features[{i}]": feature})
    if len(weights) != len(features):
        raise ValueError(f"weights must be one per filter, {len(features)}, got {len(weights)}")
    if not all(map(is_number, weights)):
        raise ValueError(f"weights must be finite numbers, got {weights!r}")
    iterations = check_iterations(iterations, least=0)
    chosen = _choose_backend(backend, log_probabilities.device)
    if chosen == "numba" and features and iterations:
        scores = _flat(log_probabilities, torch.float32).cpu()
        points = [_flat(feature, compute_dtype(feature)).cpu() for feature in features]
        marginals = library.permutohedral_mean_field(scores, points, list(map(float, weights)), iterations)
    else:
        dtype = reduce(torch.promote_types, map(compute_dtype, (log_probabilities, *features)))
        filters = [reference.symmetric_filter(_flat(feature, dtype)) for feature in features] if iterations else []
        marginals = reference.mean_field(_flat(log_probabilities, dtype), filters, weights, iterations)
    return marginals.view(log_probabilities.shape).to(log_probabilities)


def _flat(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(dtype).flatten(1)


def _has_pixels(tensor: Tensor) -> bool:
    return tensor.dim() > 1 and 0 not in tensor.shape


def _check_features(name: str, features: Tensor) -> None:
    wanted = "a floating-point tensor of shape (D, H, W) with at least one pixel"
    check_tensor(name, features, wanted, _has_pixels)
    check_finite(name, features)
