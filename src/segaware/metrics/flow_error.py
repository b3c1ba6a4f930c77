"""Errors of optical flow: end points, angles and outliers, over all pixels and near motion boundaries."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from segaware.metrics.motion_boundary import boundary_distance, check_threshold, known_flow
from segaware.metrics.precision import DoubleMetric, to_double


def end_point_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Euclidean distance between predicted and true flow at every pixel.

    Args:
        prediction: (..., 2, H, W) predicted flow in pixels.
        target: true flow, same shape.

    Returns:
        (..., H, W) error in pixels.

    Raises:
        ValueError: a shape is wrong.

    Example:
        >>> end_point_error(torch.tensor([[[3.0]], [[4.0]]]), torch.zeros(2, 1, 1))
        tensor([[5.]])
    """
    _check_same_shape(prediction, target)
    return torch.linalg.vector_norm(prediction - target, dim=-3)


def angular_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Angle in space and time between predicted and true flow at every pixel, in degrees.

    The angle between (u, v, 1) and (u', v', 1), from Fleet and Jepson (IJCV 1990) and Barron, Fleet and Beauchemin
    (IJCV 1994): ``acos((u u' + v v' + 1) / (|(u, v, 1)| |(u', v', 1)|))``. Its mean is what papers call average angular
    error (AAE). The 1, a frame in time, keeps it defined where nothing moves; the faster the motion, the less does a
    pixel of error count. It is computed as atan2 of the length of the cross product and the dot product, which is
    exact at 0, where rounding makes the acos in single precision wrong by hundredths of a degree.

    Args:
        prediction: (..., 2, H, W) predicted flow in pixels.
        target: true flow, same shape.

    Returns:
        (..., H, W) angle in degrees, 0 to 180.

    Raises:
        ValueError: a shape is wrong.

    Example:
        >>> angular_error(torch.tensor([[[1.0]], [[0.0]]]), torch.zeros(2, 1, 1))
        tensor([[45.]])
    """
    _check_same_shape(prediction, target)
    (u, v), (du, dv) = target.unbind(-3), (prediction - target).unbind(-3)
    # The third part of the cross product is u v' - v u', here without the difference of two large products.
    cross = torch.stack([du, dv, u * dv - v * du]).norm(dim=0)
    dot = (prediction * target).sum(-3) + 1
    return torch.rad2deg(torch.atan2(cross, dot))


def fl_outliers(prediction: Tensor, target: Tensor) -> Tensor:
    """Pixels whose end-point error is above 3 pixels and above 5 % of the true flow's length (KITTI 2015).

    Their share among all pixels with known flow is KITTI's "Fl-all" (Menze and Geiger, CVPR 2015).

    Args:
        prediction: (..., 2, H, W) predicted flow in pixels.
        target: true flow, same shape.

    Returns:
        (..., H, W) bool.

    Raises:
        ValueError: a shape is wrong.

    Example:
        >>> target = torch.tensor([[[0.0, 100.0]], [[0.0, 0.0]]])
        >>> fl_outliers(target + torch.tensor([4.0, 0.0]).reshape(2, 1, 1), target)
        tensor([[ True, False]])
    """
    error = end_point_error(prediction, target)
    return (error > 3) & (error > 0.05 * torch.linalg.vector_norm(target, dim=-3))


def _check_same_shape(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape or target.ndim < 3 or target.shape[-3] != 2:
        raise ValueError(
            "prediction and target must have the same shape (..., 2, H, W), "
            f"got {tuple(prediction.shape)} and {tuple(target.shape)}"
        )


def flow_error_sums(
    prediction: Tensor,
    target: Tensor,
    valid: Tensor,
    distances: Sequence[float] = (5, 10, 20),
    threshold: float = 1.0,
) -> Tensor:
    """Sum of each error over an image's pixels, and the number of these pixels.

    Rows, in this order:

    * `end_point_error`, `angular_error` and `fl_outliers` of all pixels,
    * for each distance, end-point error of the pixels with at most this `boundary_distance`, so each row holds the
      pixels of the one before,
    * end-point error of all other pixels, those of images without a motion boundary among them.

    Only pixels whose true flow is known count (see `segaware.metrics.motion_boundary.known_flow`).

    Add up images before dividing with `mean_flow_errors`, so that every pixel counts the same, as benchmarks do. For
    an interval of the difference between two methods, give one row of all images to `paired_bootstrap`.

    Args:
        prediction: (2, H, W) or (N, 2, H, W) predicted flow, floating point, in pixels. Not looked at where the true
            flow is not known.
        target: true flow, same shape.
        valid: (H, W) or (N, H, W) bool, where the true flow is known.
        distances: distances to the nearest motion boundary in pixels, strictly increasing, 0 or more.
        threshold: the largest difference between neighbours that is no motion boundary, in pixels.

    Returns:
        (S, 2) or (N, S, 2) float64 with S = 4 + len(distances): sum and number of pixels.

    Raises:
        ValueError: a shape, a dtype, the distances or the threshold are wrong, or the prediction is not finite
            somewhere where the true flow is known.

    Example:
        >>> target = torch.zeros(2, 2, 1, 30)
        >>> target[:, 0, :, 15:] = 10.0
        >>> valid = torch.ones(2, 1, 30, dtype=torch.bool)
        >>> sums = flow_error_sums(0.5 * target, target, valid)
        >>> mean_flow_errors(sums.sum(0))[[0, 3, 6]]  # all pixels, within 5 pixels of a boundary, beyond 20
        tensor([2.5000, 2.5000,    nan], dtype=torch.float64)
        >>> from segaware.metrics import paired_bootstrap
        >>> control = flow_error_sums(0 * target, target, valid)
        >>> paired_bootstrap(sums[:, 3], control[:, 3], mean_flow_errors)  # within 5 pixels, two equal images
        Interval(difference=-2.5, low=-2.5, high=-2.5)
    """
    _check_distances(distances)
    known = _comparable(prediction, target, valid)
    prediction, target = to_double(prediction), to_double(target)
    known = known.to(target.device)
    distance = boundary_distance(target, known, threshold)
    error = end_point_error(prediction, target)
    rows = [(error, known), (angular_error(prediction, target), known), (fl_outliers(prediction, target), known)]
    rows += [(error, known & (distance <= limit)) for limit in distances]
    rows += [(error, known & (distance > distances[-1]))]
    return torch.stack([_error_sum(*row) for row in rows], -2)


def _check_distances(distances: Sequence[float]) -> None:
    if not distances or distances[0] < 0 or not all(a < b for a, b in pairwise([*distances, math.inf])):
        raise ValueError(f"distances must be strictly increasing, 0 or more and finite, got {distances!r}")


def _comparable(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Pixels to compare, after checking all there is to check."""
    _check_same_shape(prediction, target)
    if not prediction.is_floating_point():
        raise ValueError(f"prediction must be floating point, got {prediction.dtype}")
    known = known_flow(target, valid)
    unusable = (known & ~prediction.isfinite().all(-3)).sum()
    if unusable:
        raise ValueError(f"prediction must be finite wherever the true flow is known, but is not at {unusable} pixels")
    return known


def _error_sum(error: Tensor, counted: Tensor) -> Tensor:
    """(..., H, W) errors -> (..., 2): their sum over the counted pixels, and how many these are."""
    # A choice, not a product: errors at other pixels may be nan.
    return torch.stack([torch.where(counted, error, 0.0), counted], -1).sum((-3, -2), dtype=torch.float64)


def mean_flow_errors(sums: Tensor) -> Tensor:
    """Mean error per pixel.

    Args:
        sums: (..., 2) sums of errors and numbers of pixels, as in any row or rows of `flow_error_sums`.

    Returns:
        (...) float64, nan where no pixel was counted.

    Raises:
        ValueError: the shape is wrong.

    Example:
        >>> mean_flow_errors(torch.tensor([[6.0, 4.0], [0.0, 0.0]]))
        tensor([1.5000,    nan], dtype=torch.float64)
    """
    if sums.ndim < 1 or sums.shape[-1] != 2:
        raise ValueError(f"sums must have shape (..., 2), got {tuple(sums.shape)}")
    total, pixels = to_double(sums).unbind(-1)
    return total / pixels


class _PixelMean(DoubleMetric):
    """Mean over all pixels seen of what `_error` says of each."""

    higher_is_better = False

    sums: Tensor
    _error: Callable[[Tensor, Tensor], Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add flow (2, H, W) or (N, 2, H, W) in pixels, counted where `valid`; see `flow_error_sums`."""
        known = _comparable(prediction, target, valid)
        error = self._error(to_double(prediction), to_double(target))
        self.sums += _error_sum(error, known.to(error.device)).reshape(-1, 2).sum(0)

    def compute(self) -> Tensor:
        """Mean over everything seen on all processes: a float64 scalar, nan if nothing was counted."""
        return mean_flow_errors(self.sums)


class EndPointError(_PixelMean):
    """Mean `end_point_error` of all pixels seen, in pixels.

    Example:
        >>> metric = EndPointError()
        >>> metric.update(torch.tensor([[[3.0]], [[4.0]]]), torch.zeros(2, 1, 1), torch.tensor([[True]]))
        >>> metric.compute()
        tensor(5., dtype=torch.float64)
    """

    _error = staticmethod(end_point_error)


class AngularError(_PixelMean):
    """Mean `angular_error` of all pixels seen, in degrees.

    Example:
        >>> metric = AngularError()
        >>> metric.update(torch.tensor([[[1.0]], [[0.0]]]), torch.zeros(2, 1, 1), torch.tensor([[True]]))
        >>> metric.compute()
        tensor(45., dtype=torch.float64)
    """

    _error = staticmethod(angular_error)


class FlAll(_PixelMean):
    """Share of `fl_outliers` among all pixels seen, 0 to 1: KITTI 2015's Fl-all.

    Example:
        >>> metric = FlAll()
        >>> prediction = torch.tensor([[[4.0, 1.0]], [[0.0, 0.0]]])
        >>> metric.update(prediction, torch.zeros(2, 1, 2), torch.tensor([[True, True]]))
        >>> metric.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    _error = staticmethod(fl_outliers)


class BoundaryEndPointError(DoubleMetric):
    """Mean end-point error within several distances of a motion boundary, and beyond the last.

    Args:
        distances: distances to the nearest motion boundary in pixels, strictly increasing, 0 or more.
        threshold: the largest difference between neighbours that is no motion boundary, in pixels; see
            `segaware.metrics.motion_boundary.motion_boundaries`.

    Raises:
        ValueError: the distances or the threshold are wrong.

    Example:
        >>> target = torch.zeros(2, 1, 30)
        >>> target[0, :, 15:] = 10.0
        >>> metric = BoundaryEndPointError(distances=(5, 10))
        >>> metric.update(0.5 * target, target, torch.ones(1, 30, dtype=torch.bool))
        >>> metric.compute()
        tensor([2.5000, 2.5000, 2.5000], dtype=torch.float64)
    """

    higher_is_better = False

    sums: Tensor

    def __init__(self, distances: Sequence[float] = (5, 10, 20), threshold: float = 1.0) -> None:
        super().__init__()
        _check_distances(distances)
        check_threshold(threshold)
        self.distances = tuple(distances)
        self.threshold = threshold
        self.add_state("sums", torch.zeros(len(distances) + 1, 2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add flow (2, H, W) or (N, 2, H, W) in pixels, counted where `valid`; see `flow_error_sums`."""
        sums = flow_error_sums(prediction, target, valid, self.distances, self.threshold)
        self.sums += sums[..., 3:, :].reshape(-1, *self.sums.shape).sum(0)

    def compute(self) -> Tensor:
        """Mean error in pixels within each distance and beyond the last: (len(distances) + 1,) float64.

        Over everything seen on all processes; nan where nothing was counted.
        """
        return mean_flow_errors(self.sums)
