"""Intersection over union of the boundary regions of prediction and truth (Cheng et al., CVPR 2021)."""

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from segaware.constants import IGNORE_INDEX
from segaware.metrics.iou import confusion_cells
from segaware.metrics.precision import DoubleMetric, to_double


def boundary_counts(
    prediction: Tensor,
    target: Tensor,
    num_classes: int,
    ignore_index: int | None = IGNORE_INDEX,
    dilation_ratio: float = 0.02,
) -> Tensor:
    """Intersection and union, in pixels, of the boundary regions of each class in each image.

    The boundary region of a class is its mask less the mask eroded d times by a 3x3 square, with nothing but
    background outside the image (Boundary IoU, https://arxiv.org/abs/2103.16562, and its authors' code):
    d = ``round(dilation_ratio * diagonal)``, at least 1. In other words: the pixels of the class that have another
    class, or the image's edge, within chessboard distance d.

    Void pixels are not counted, and belong to every class while eroding, in the prediction as in the truth. So a void
    outline makes no contour of its own, what is predicted in void does not matter, and a prediction that is right
    everywhere else has IoU 1. The two classes beside an outline see each other across it, each to depth d less the
    outline's width; where d is not larger than that, nothing is counted.

    Args:
        prediction: (H, W) or (N, H, W) predicted classes, integers in ``[0, num_classes)``. Not looked at where the
            target is ``ignore_index``.
        target: true classes, same shape, integers in ``[0, num_classes)`` or ``ignore_index``.
        num_classes: number of classes C.
        ignore_index: target value of the pixels to leave out; None leaves none out.
        dilation_ratio: depth d of a boundary region as a part of the image's diagonal, positive.

    Returns:
        (2, C) or (N, 2, C) int64 pixels: intersections, then unions. Sum over images before dividing.

    Raises:
        ValueError: the shapes, dtypes, values or the ratio are wrong.

    Example:
        >>> target = torch.zeros(9, 9, dtype=torch.int64)
        >>> target[2:7, 2:7] = 1
        >>> prediction = torch.zeros(9, 9, dtype=torch.int64)
        >>> prediction[2:7, 2:8] = 1
        >>> boundary_counts(prediction, target, num_classes=2)
        tensor([[51, 13],
                [56, 21]])
    """
    _check_dilation_ratio(dilation_ratio)
    cells, counted = confusion_cells(prediction, target, num_classes, ignore_index)
    if target.ndim not in (2, 3):
        raise ValueError(f"target must have shape (H, W) or (N, H, W), got {tuple(target.shape)}")
    depth = max(1, round(dilation_ratio * math.hypot(*target.shape[-2:])))
    near_predicted, near_true = (
        _near_contour(labels, counted, num_classes, depth)[counted] for labels in (prediction, target)
    )

    num_images = math.prod(target.shape[:-2])
    first_class = num_classes * torch.arange(num_images, device=target.device).reshape(*target.shape[:-2], 1, 1)
    first_class = first_class.expand_as(target)[counted]
    truth, predicted = first_class + cells // num_classes, first_class + cells % num_classes

    def count(classes: Tensor) -> Tensor:
        return torch.bincount(classes, minlength=num_images * num_classes).reshape(*target.shape[:-2], num_classes)

    intersection = count(truth[near_true & near_predicted & (truth == predicted)])
    union = count(truth[near_true]) + count(predicted[near_predicted]) - intersection
    return torch.stack([intersection, union], -2)


def _check_dilation_ratio(dilation_ratio: float) -> None:
    if not 0 < dilation_ratio < math.inf:
        raise ValueError(f"dilation_ratio must be positive and finite, got {dilation_ratio}")


def _near_contour(labels: Tensor, counted: Tensor, num_classes: int, depth: int) -> Tensor:
    """Pixels with another class or the image's edge within a chessboard distance, among those counted.

    A window with one class has equal maximum and minimum. Running maxima take the same time at any depth, and all
    classes at once.
    """
    known, classes = counted.cpu().numpy(), labels.cpu().numpy().astype(np.int32)
    window = (1,) * (labels.ndim - 2) + (2 * depth + 1,) * 2
    largest = ndimage.maximum_filter(np.where(known, classes, -1), window, mode="nearest")
    smallest = ndimage.minimum_filter(np.where(known, classes, num_classes), window, mode="nearest")
    near = largest != smallest
    near[..., :depth, :] = near[..., -depth:, :] = near[..., :depth] = near[..., -depth:] = True
    return torch.from_numpy(near).to(labels.device)


def mean_boundary_iou(counts: Tensor) -> Tensor:
    """Boundary IoU of each class, averaged over classes.

    Sum the counts of all images first, as for `mean_iou`. Classes without a boundary pixel in truth or prediction are
    left out of the mean.

    Args:
        counts: (..., 2, C) intersections and unions of `boundary_counts`.

    Returns:
        (...) float64 in 0..1, nan where nothing was counted.

    Raises:
        ValueError: the shape is wrong.

    Example:
        >>> mean_boundary_iou(torch.tensor([[3, 1, 0], [4, 2, 0]]))  # (3/4 + 1/2) / 2
        tensor(0.6250, dtype=torch.float64)
    """
    if counts.ndim < 2 or counts.shape[-2] != 2:
        raise ValueError(f"counts must have shape (..., 2, C), got {tuple(counts.shape)}")
    intersection, union = to_double(counts).unbind(-2)
    return (intersection / union).nanmean(-1)


class BoundaryIoU(DoubleMetric):
    """Mean Boundary IoU over classes, from the boundary pixels of everything seen.

    As `MeanIoU`, intersections and unions are summed over the set for each class before they are divided.

    Args:
        num_classes: number of classes C.
        ignore_index: target value of the pixels to leave out; None leaves none out.
        dilation_ratio: depth of a boundary region as a part of the image's diagonal, positive.

    Raises:
        ValueError: the ratio is wrong.

    Example:
        >>> target = torch.zeros(9, 9, dtype=torch.int64)
        >>> target[2:7, 2:7] = 1
        >>> metric = BoundaryIoU(num_classes=2)
        >>> metric.update(target.roll(1, dims=1), target)
        >>> metric.compute()  # class 0: 44/61, class 1: 8/24
        tensor(0.5273, dtype=torch.float64)
    """

    higher_is_better = True

    counts: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = IGNORE_INDEX, dilation_ratio: float = 0.02) -> None:
        super().__init__()
        _check_dilation_ratio(dilation_ratio)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.dilation_ratio = dilation_ratio
        self.add_state("counts", torch.zeros(2, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count (H, W) or (N, H, W) label maps; see `segaware.metrics.boundary_counts`."""
        counts = boundary_counts(prediction, target, self.num_classes, self.ignore_index, self.dilation_ratio)
        self.counts += counts.reshape(-1, 2, self.num_classes).sum(0)

    def compute(self) -> Tensor:
        """Mean Boundary IoU of everything seen on all processes: a float64 scalar in 0..1."""
        return mean_boundary_iou(self.counts)

    def per_class(self) -> Tensor:
        """Boundary IoU of each class, (C,) float64, nan for classes without boundary. Call it on every process."""
        # torchmetrics gathers the states of the processes around `compute` only.
        with self.sync_context():
            intersection, union = to_double(self.counts)
            return intersection / union
