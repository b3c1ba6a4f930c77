"""Segmentation-aware CRF as a layer."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from segaware.nn.hardness import hardness_parameter, nonnegative, shown
from segaware.ops import embedding_distance, segaware_filter2d
from segaware.ops.arguments import (
    MOST_CLASSES,
    check_context,
    check_devices,
    check_finite,
    check_integer,
    check_iterations,
    check_tensor,
    compute_dtype,
    is_number,
    value_range,
)
from segaware.ops.distance.reference import Metric
from segaware.ops.neighbour_mask.op import neighbour_mask
from segaware.ops.window import IntPair, Window, as_pair

Weights = Literal["matrix", "scalar"]
_LEAST_BANDWIDTH = 1e-15  # so that (offset / bandwidth)^2 is finite


class SegAwareCRF(nn.Module):
    """Sharpen class scores by mean-field inference in a sparse CRF over embeddings (Eq. 5 and 6 of Harley et al. 2017).

    Neighbours pull a pixel towards their own classes: the pixels of a wide dilated window as far as their embeddings
    are near (bilateral), and the pixels next to it (spatial). From Q = U, the logits, every iteration computes

        P = softmax(Q);  S, B = spatial and bilateral mean of P;  Q = U - C (W_s S + W_b B).

    The weights of the means are exp(-|i - k|^2 / (2 spatial_bandwidth^2)) and exp(-hardness * d_ik - |i - k|^2 /
    (2 bandwidth^2)), without the pixel itself and without taps outside the image. A pixel with no neighbour at all
    gets no message. C, W_s and W_b start at -compat * I, I and I, so that an untrained CRF computes Q = U + S + B;
    they, the hardness and both bandwidths are learned. This is the CRF of the authors' release, which takes half the
    squared Euclidean distance of embeddings scaled by a: `metric="sqeuclidean"` and hardness a^2 / 2. The release runs
    it at half the image's resolution.

    Args:
        num_classes: Number of classes C, 2 or more.
        kernel_size: Window of the bilateral mean, odd.
        dilation: Step between its taps.
        spatial_kernel_size: Window of the spatial mean, odd; its taps are neighbouring pixels.
        iterations: Number of mean-field iterations.
        hardness: Start value of the hardness (Eq. 3's lambda, in place of the 1 / (2 theta^2) of Eq. 6's colours), 0 or
            more. The CRF uses `max(hardness, 0)`.
        bandwidth: Start value of the width of the bilateral mean, in pixels of the logits; its logarithm is learned.
        spatial_bandwidth: The same of the spatial mean.
        metric: Distance between embeddings, see `segaware.ops.embedding_distance`.
        weights: "matrix" weighs the classes of a mean by a matrix (C, C), as the release; "scalar" by one number, as
            Eq. 6. C is a matrix in both.
        compat: Start value of the weight of both means against the logits: C starts at -compat * I. Together with more
            iterations, more of it takes isolated wrong regions away, as a dense CRF does, whose usual weight is 3.

    Raises:
        ValueError: If an argument is out of range; the message names it.

    Example:
        >>> logits, embedding = torch.randn(1, 21, 30, 40), torch.randn(1, 64, 30, 40)
        >>> SegAwareCRF(num_classes=21)(logits, embedding).shape
        torch.Size([1, 21, 30, 40])
    """

    def __init__(
        self,
        num_classes: int,
        kernel_size: IntPair = 13,
        dilation: IntPair = 9,
        spatial_kernel_size: IntPair = 5,
        iterations: int = 2,
        hardness: float = 1.0,
        bandwidth: float = 20.0,
        spatial_bandwidth: float = 20.0,
        metric: Metric = "l1",
        weights: Weights = "matrix",
        compat: float = 1.0,
    ) -> None:
        super().__init__()
        if metric not in get_args(Metric):
            raise ValueError(f"metric must be one of {get_args(Metric)}, got {metric!r}")
        if weights not in get_args(Weights):
            raise ValueError(f"weights must be one of {get_args(Weights)}, got {weights!r}")
        if not (is_number(compat) and compat >= 0):
            raise ValueError(f"compat must be finite and 0 or more, got {compat!r}")
        self.window = _odd_window("kernel_size", kernel_size, dilation)
        self.spatial_window = _odd_window("spatial_kernel_size", spatial_kernel_size, 1)
        self.kernel_size = self.window.kernel_size
        self.dilation = self.window.dilation
        self.num_classes = check_integer("num_classes", num_classes, 2, MOST_CLASSES)
        self.iterations = check_iterations(iterations)
        self.metric: Metric = metric
        self.weights: Weights = weights
        start = torch.eye(self.num_classes) if weights == "matrix" else torch.ones(())
        self.compatibility = nn.Parameter(-float(compat) * torch.eye(self.num_classes))
        self.spatial_weight = nn.Parameter(start)
        self.bilateral_weight = nn.Parameter(start.clone())
        self.hardness = hardness_parameter(hardness)
        self.log_bandwidth = _log_parameter("bandwidth", bandwidth)
        self.log_spatial_bandwidth = _log_parameter("spatial_bandwidth", spatial_bandwidth)

    def distance(self, embedding: Tensor) -> Tensor:
        """Return the distances (N, K, H, W) of the bilateral window over an embedding (N, E, H, W).

        Those of half precisions are in float32: rounded, they would move exponents by as much as hardness is large.

        Args:
            embedding: One embedding per pixel, (N, E, H, W).
        """
        embedding = embedding.to(compute_dtype(embedding))
        return embedding_distance(
            embedding, self.kernel_size, padding="same", dilation=self.dilation, metric=self.metric
        )

    def forward(self, logits: Tensor, embedding: Tensor | None = None, *, distance: Tensor | None = None) -> Tensor:
        """Sharpen logits.

        Args:
            logits: Class scores before any softmax, (N, C, H, W), of any size.
            embedding: One embedding per pixel, (N, E, H, W).
            distance: Instead of an embedding, its distances (N, K, H, W) from `distance`.

        Returns:
            The sharpened logits (N, C, H, W), in the dtype of `logits`. Half precisions are computed in float32, under
            autocast too.

        Raises:
            ValueError: If not exactly one of `embedding` and `distance` is given, shapes, dtypes or devices do not
                fit, or what comes out is not finite, because something that went in is not or is beyond float32. That
                is not looked at within `torch.compile` and `torch.export`.
            TypeError: If what must be a tensor is none.
        """
        wanted = f"a floating-point tensor of shape (N, {self.num_classes}, H, W), with pixels"
        check_tensor("logits", logits, wanted, self._fits)
        check_context("SegAwareCRF", embedding, distance)
        check_devices(logits=logits, embedding=embedding, distance=distance, hardness=self.hardness)
        batch, _, height, width = logits.shape
        if embedding is not None:
            if embedding.dim() != 4 or (embedding.shape[0], *embedding.shape[2:]) != (batch, height, width):
                raise ValueError(
                    f"embedding must have one vector per pixel of logits, shape ({batch}, E, {height}, {width}), "
                    f"got {tuple(embedding.shape)}"
                )
            distance = self.distance(embedding)
        assert distance is not None
        expected = batch, self.window.size, height, width
        wanted = f"a floating-point tensor of shape (N, K, H, W) = {expected}"
        check_tensor("distance", distance, wanted, lambda distance: distance.shape == expected)
        dtype = compute_dtype(logits)
        with torch.autocast(logits.device.type, enabled=False):
            output = self._mean_field(logits.to(dtype), distance.to(dtype), overwrite=embedding is not None)
        self._check_output(output, logits, embedding, distance)
        return output.to(logits.dtype)

    def _fits(self, logits: Tensor) -> bool:
        return logits.dim() == 4 and logits.shape[1] == self.num_classes and 0 not in logits.shape[2:]

    def _check_output(self, output: Tensor, logits: Tensor, embedding: Tensor | None, distance: Tensor) -> None:
        """Raise ValueError if the output is not finite: that costs less than looking at all that goes in."""
        low, high = value_range(output) or (0.0, 0.0)
        if math.isfinite(low) and math.isfinite(high):
            return
        check_finite("logits", logits)
        if embedding is not None:
            check_finite("embedding", embedding)
            raise ValueError("embedding must have differences whose distances are finite in its type, got larger ones")
        check_finite("distance", distance)
        raise ValueError(f"logits and parameters must have finite sums, got sums from {low} to {high}")

    def _mean_field(self, logits: Tensor, distance: Tensor, overwrite: bool) -> Tensor:
        multiply = torch.matmul if self.weights == "matrix" else torch.mul
        spatial_matrix, bilateral_matrix = (
            -multiply(self.compatibility, weight).to(logits.dtype).expand(logits.shape[0], -1, -1)
            for weight in (self.spatial_weight, self.bilateral_weight)
        )
        mask = _mask(distance, nonnegative(self.hardness), self.window, self.log_bandwidth, overwrite)
        q = logits
        for _ in range(self.iterations):
            q = q.softmax(1)
            q = (  # in one expression, so that no more than three tensors of this size are alive at once
                torch.bmm(spatial_matrix, self._spatial_mean(q).flatten(2))
                .baddbmm_(bilateral_matrix, _mean(q, mask, self.window).flatten(2))
                .unflatten(2, logits.shape[2:])
                .add_(logits)
            )
        return q

    def _spatial_mean(self, probability: Tensor) -> Tensor:
        """Return the spatial mean of every class. Its mask, the same for all images, is made anew to save memory."""
        zeros = probability.new_zeros(1, self.spatial_window.size, *probability.shape[-2:])
        mask = _mask(zeros, zeros.new_zeros(()), self.spatial_window, self.log_spatial_bandwidth, overwrite=True)
        return _mean(probability.flatten(0, 1)[None], mask, self.spatial_window).view_as(probability)

    def extra_repr(self) -> str:
        """Describe the CRF."""
        return (
            f"num_classes={self.num_classes}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"spatial_kernel_size={self.spatial_window.kernel_size}, iterations={self.iterations}, "
            f"hardness={shown(self.hardness)}, bandwidth={shown(self.log_bandwidth, math.exp)}, "
            f"spatial_bandwidth={shown(self.log_spatial_bandwidth, math.exp)}, metric={self.metric!r}, "
            f"weights={self.weights!r}"
        )


def _odd_window(name: str, kernel_size: IntPair, dilation: IntPair) -> Window:
    pair = as_pair(name, kernel_size, 1)
    if not all(k % 2 for k in pair) or pair == (1, 1):
        raise ValueError(f"{name} must be odd and have more than one tap, got {kernel_size!r}")
    return Window.of(pair, padding="same", dilation=dilation)


def _log_parameter(name: str, bandwidth: float) -> nn.Parameter:
    if not (is_number(bandwidth) and bandwidth >= _LEAST_BANDWIDTH):
        raise ValueError(f"{name} must be finite and greater than 0, at least {_LEAST_BANDWIDTH}, got {bandwidth!r}")
    return nn.Parameter(torch.tensor(math.log(bandwidth)))


def _mask(distance: Tensor, hardness: Tensor, window: Window, log_bandwidth: Tensor, overwrite: bool) -> Tensor:
    """Return exp(-hardness * d_ik - |i - k|^2 / (2 bandwidth^2)) but for a factor per pixel, (N, K, H, W).

    The centre has no part, and taps outside the image have one only where there are no others.
    """
    bandwidth = log_bandwidth.to(distance.dtype).exp()
    rows, columns = map(_log_gaussian, distance.shape[-2:], window.kernel_size, window.dilation, (bandwidth, bandwidth))
    return neighbour_mask(distance, hardness, rows, columns, overwrite)


def _log_gaussian(length: int, taps: int, step: int, bandwidth: Tensor) -> Tensor:
    """Return -x^2 / (2 bandwidth^2) of every tap and pixel along one axis, (taps, length).

    Outside the image it is so low that other taps are left with nothing only if all of them are outside, too.
    """
    offset = (torch.arange(taps, device=bandwidth.device) - taps // 2)[:, None] * step
    neighbour = torch.arange(length, device=bandwidth.device) + offset
    outside = (neighbour < 0) | (neighbour >= length)
    return torch.where(outside, torch.finfo(bandwidth.dtype).min / 4, -(offset / bandwidth).square() / 2)


def _mean(probability: Tensor, mask: Tensor, window: Window) -> Tensor:
    # Taps outside the image count as 0: a pixel that has no others gets no message.
    return segaware_filter2d(probability, mask, window.kernel_size, window.dilation, border="zero")
