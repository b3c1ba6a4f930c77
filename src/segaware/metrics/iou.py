"""Confusion matrices of label maps, and the intersection over union they give."""

import torch
from torch import Tensor

from segaware.constants import IGNORE_INDEX
from segaware.metrics.precision import DoubleMetric, to_double
from segaware.ops.arguments import INTEGERS


def confusion_matrix(
    prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int | None = IGNORE_INDEX
) -> Tensor:
    """Count how often each true class was predicted as each class.

    Args:
        prediction: predicted classes, any shape, integers in ``[0, num_classes)``. Not looked at where the target is
            ``ignore_index``.
        target: true classes, same shape, integers in ``[0, num_classes)`` or ``ignore_index``.
        num_classes: number of classes C.
        ignore_index: target value of the pixels to leave out; None leaves none out.

    Returns:
        (C, C) int64 counts; row is the truth, column the prediction.

    Raises:
        ValueError: the shapes differ, a tensor does not hold integers, or a value is out of range.

    Example:
        >>> confusion_matrix(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 255]), num_classes=2)
        tensor([[1, 1],
                [0, 1]])
    """
    cells, _ = confusion_cells(prediction, target, num_classes, ignore_index)
    return torch.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def confusion_cells(
    prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int | None
) -> tuple[Tensor, Tensor]:
    """Check a pair of label maps and find the cell of the flat confusion matrix that each counted pixel falls in.

    Args:
        prediction: as in `confusion_matrix`.
        target: as in `confusion_matrix`.
        num_classes: number of classes C.
        ignore_index: target value of the pixels to leave out; None leaves none out.

    Returns:
        (M,) int64 ``truth * C + prediction`` of the M counted pixels, and the boolean mask of those pixels, shaped
        like the target.

    Raises:
        ValueError: as in `confusion_matrix`.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction and target must have the same shape, got {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    for name, labels in (("prediction", prediction), ("target", target)):
        check_integer(name, labels)
    counted = known_labels(target, ignore_index)
    # int64 before the product below: a uint8 label map would overflow.
    predicted, truth = prediction.long()[counted], target.long()[counted]
    for name, labels in (("prediction", predicted), ("target", truth)):
        outside = labels[(labels < 0) | (labels >= num_classes)]
        if outside.numel():
            raise ValueError(
                f"{name} holds the value {outside[0].item()}, wanted classes in 0..{num_classes - 1}"
                + (f" or ignore_index={ignore_index}" if name == "target" and ignore_index is not None else "")
            )
    return truth * num_classes + predicted, counted


def known_labels(target: Tensor, ignore_index: int | None) -> Tensor:
    """Return which labels are not `ignore_index`, boolean: all of them if that is None."""
    if ignore_index is None:
        return torch.ones_like(target, dtype=torch.bool)
    return target.long() != ignore_index  # small types cannot hold every ignore_index, and some have no comparison


def check_integer(name: str, labels: Tensor) -> None:
    """Raise a ValueError that names the argument unless it is a tensor of integers."""
    if labels.dtype not in INTEGERS:
        raise ValueError(f"{name} must hold integer classes, got {labels.dtype}")


def class_iou(confusion: Tensor) -> Tensor:
    """Intersection over union of each class: ``tp / (tp + fp + fn)``.

    Args:
        confusion: (..., C, C) counts, row is the truth.

    Returns:
        (..., C) float64 in 0..1, nan for a class that is neither in the truth nor predicted. On the device of the
        counts, or on the CPU if that has no float64 (MPS).

    Raises:
        ValueError: the last two dimensions are not square.

    Example:
        >>> class_iou(torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0]]))
        tensor([0.5000, 0.5000,    nan], dtype=torch.float64)
    """
    if confusion.ndim < 2 or confusion.shape[-1] != confusion.shape[-2]:
        raise ValueError(f"confusion must have shape (..., C, C), got {tuple(confusion.shape)}")
    counts = to_double(confusion)
    hits = counts.diagonal(dim1=-2, dim2=-1)
    return hits / (counts.sum(-1) + counts.sum(-2) - hits)


def mean_iou(confusion: Tensor) -> Tensor:
    """Mean intersection over union as PASCAL VOC defines it: on one confusion matrix of the whole set.

    Sum the confusion matrices of all images first; the mean of per-image values is a different number. Classes that
    are neither in the truth nor predicted anywhere (union zero) are left out of the mean.

    Args:
        confusion: (..., C, C) counts, row is the truth.

    Returns:
        (...) float64 in 0..1, nan where nothing was counted.

    Raises:
        ValueError: the last two dimensions are not square.

    Example:
        >>> mean_iou(torch.tensor([[3, 1], [0, 2]]))  # (3/4 + 2/3) / 2
        tensor(0.7083, dtype=torch.float64)
    """
    return class_iou(confusion).nanmean(-1)


class MeanIoU(DoubleMetric):
    """Mean IoU over classes, from one confusion matrix of everything seen (PASCAL VOC's definition).

    This is not ``torchmetrics.segmentation.MeanIoU``, which averages the IoU of single images.

    Args:
        num_classes: number of classes C.
        ignore_index: target value of the pixels to leave out; None leaves none out.

    Example:
        >>> metric = MeanIoU(num_classes=2)
        >>> metric.update(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
        >>> metric.update(torch.tensor([1, 1]), torch.tensor([1, 255]))
        >>> metric.compute()  # class 0: 1/2, class 1: 2/3
        tensor(0.5833, dtype=torch.float64)
    """

    higher_is_better = True

    confusion: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = IGNORE_INDEX) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count label maps of any equal shape; see `segaware.metrics.confusion_matrix`."""
        self.confusion += confusion_matrix(prediction, target, self.num_classes, self.ignore_index)

    def compute(self) -> Tensor:
        """Mean IoU of everything seen on all processes: a float64 scalar in 0..1."""
        return mean_iou(self.confusion)

    def per_class(self) -> Tensor:
        """IoU of each class, (C,) float64, nan for classes not seen. Like ``compute``, call it on every process."""
        # torchmetrics gathers the states of the processes around `compute` only.
        with self.sync_context():
            return class_iou(self.confusion)
