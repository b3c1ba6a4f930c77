"""Mean intersection over union in narrow bands along the borders of the truth ("trimap" evaluation)."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from segaware.constants import IGNORE_INDEX
from segaware.metrics.iou import check_integer, confusion_cells, known_labels, mean_iou
from segaware.metrics.precision import DoubleMetric
from segaware.ops.arguments import as_integer

Border = Literal["any", "void"]


def border_distance(label: Tensor) -> Tensor:
    """Chessboard distance, in pixels, of every pixel to the nearest border of a label map.

    A pixel that differs from any of its 8 neighbours has distance 1, so both sides of a border have it; the next ring
    has 2, and so on. Void (255) is a label like any other, so a void outline is a border. With 8 neighbours, the
    non-void pixels of distance at most w are exactly the void outline dilated by a square of side 2w+1, less the
    outline itself; with 4 neighbours the diagonal corners would be missing.

    Args:
        label: (H, W) or (N, H, W) integers.

    Returns:
        int64 distances, same shape and device; H + W everywhere in an image without a border.

    Raises:
        ValueError: the shape or dtype is wrong.

    Example:
        >>> border_distance(torch.tensor([[0, 0, 0, 1, 1]]))
        tensor([[3, 2, 1, 1, 2]])
    """
    check_integer("label", label)
    return _for_each_image(_image_border_distance, label)


def _image_border_distance(label: np.ndarray) -> np.ndarray:
    border = ndimage.maximum_filter(label, size=3) != ndimage.minimum_filter(label, size=3)
    if not border.any():
        return np.full(label.shape, sum(label.shape))
    return ndimage.distance_transform_cdt(~border, metric="chessboard") + 1


def _void_distance(target: Tensor, ignore_index: int | None) -> Tensor:
    """Chessboard distance of every pixel to the nearest void pixel, as `border_distance` counts it."""
    void = ~known_labels(target, ignore_index)
    distance = _for_each_image(lambda image: ndimage.distance_transform_cdt(~image, metric="chessboard"), void)
    without = ~void.reshape(-1, *void.shape[-2:]).any(-1).any(-1)
    if without.any():
        raise ValueError(
            f"border='void' needs pixels of ignore_index={ignore_index} on the outlines of every target, but image "
            f"{int(without.nonzero()[0])} has none; use border='any' for labels without outlines"
        )
    return distance


def _for_each_image(distance_in: Callable[[np.ndarray], np.ndarray], label: Tensor) -> Tensor:
    if label.ndim not in (2, 3):
        raise ValueError(f"label must have shape (H, W) or (N, H, W), got {tuple(label.shape)}")
    maps = [distance_in(image) for image in label.reshape(-1, *label.shape[-2:]).cpu().numpy()]
    return torch.from_numpy(np.array(maps, dtype=np.int64)).reshape(label.shape).to(label.device)


def trimap_confusion(
    prediction: Tensor,
    target: Tensor,
    num_classes: int,
    half_widths: Sequence[int],
    ignore_index: int | None = IGNORE_INDEX,
    border: Border = "any",
) -> Tensor:
    """Confusion matrix within each of several bands along the borders of the target.

    With ``border="any"``, the band of half-width w holds the pixels whose `border_distance` in the target is at most w
    and whose target is not ``ignore_index``. With ``border="void"`` it is DeepLab's: the pixels of ``ignore_index``
    dilated by a square of side 2w+1, less themselves. The two differ where classes touch without a void outline
    between them; then only ``"any"`` sees a border. Every size of void region counts as an outline.

    Args:
        prediction: (H, W) or (N, H, W) predicted classes, integers in ``[0, num_classes)``.
        target: true classes, same shape, integers in ``[0, num_classes)`` or ``ignore_index``.
        num_classes: number of classes C.
        half_widths: half-widths of the bands in pixels, positive and strictly increasing.
        ignore_index: target value of the pixels to leave out; None leaves none out.
        border: what a band lies along: ``"any"`` change of the label, void included, or only ``"void"``.

    Returns:
        (len(half_widths), C, C) int64 counts; row is the truth, column the prediction.

    Raises:
        ValueError: the half-widths, border, shapes, dtypes or values are wrong, or ``border`` is ``"void"`` and an
            image has no void pixel.

    Example:
        >>> trimap_confusion(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0, 0, 1]]), 2, half_widths=(1, 3))
        tensor([[[0, 1],
                 [0, 1]],
        <BLANKLINE>
                [[2, 1],
                 [0, 1]]])
    """
    half_widths = _check_half_widths(half_widths)
    _check_border(border)
    cells, counted = confusion_cells(prediction, target, num_classes, ignore_index)
    distance = (border_distance(target) if border == "any" else _void_distance(target, ignore_index))[counted]
    # Ring i lies between band i - 1 and band i; the last ring is everything beyond the widest band.
    ring = torch.bucketize(distance, torch.tensor(half_widths, device=distance.device))
    num_rings = len(half_widths) + 1
    counts = torch.bincount(ring * num_classes**2 + cells, minlength=num_rings * num_classes**2)
    return counts.reshape(num_rings, num_classes, num_classes)[:-1].cumsum(0)


def _check_half_widths(half_widths: Sequence[int]) -> list[int]:
    widths = [width for width in map(as_integer, half_widths) if width is not None]
    if not widths or len(widths) < len(half_widths) or widths[0] < 1 or widths != sorted(set(widths)):
        raise ValueError(f"half_widths must be positive, strictly increasing integers, got {half_widths!r}")
    return widths


def _check_border(border: str) -> None:
    if border not in get_args(Border):
        raise ValueError(f"border must be 'any' or 'void', got {border!r}")


class TrimapIoU(DoubleMetric):
    """Mean IoU within bands of several half-widths along the borders of the target, over everything seen.

    As `MeanIoU`, but only pixels near a border count, which is where sharp and smooth segmentations differ.

    Args:
        num_classes: number of classes C.
        half_widths: half-widths of the bands in pixels, positive and strictly increasing.
        ignore_index: target value of the pixels to leave out; None leaves none out.
        border: what a band lies along, see `segaware.metrics.trimap_confusion`.

    Raises:
        ValueError: the half-widths or the border are wrong.

    Example:
        >>> metric = TrimapIoU(num_classes=2, half_widths=(1, 3))
        >>> metric.update(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0, 0, 1]]))
        >>> metric.compute()
        tensor([0.2500, 0.5833], dtype=torch.float64)
    """

    higher_is_better = True

    confusion: Tensor

    def __init__(
        self,
        num_classes: int,
        half_widths: Sequence[int] = (1, 3, 10),
        ignore_index: int | None = IGNORE_INDEX,
        border: Border = "any",
    ) -> None:
        super().__init__()
        self.half_widths = tuple(_check_half_widths(half_widths))
        _check_border(border)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.border = border
        zeros = torch.zeros(len(half_widths), num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion", zeros, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count (H, W) or (N, H, W) label maps; see `segaware.metrics.trimap_confusion`."""
        self.confusion += trimap_confusion(
            prediction, target, self.num_classes, self.half_widths, self.ignore_index, self.border
        )

    def compute(self) -> Tensor:
        """Mean IoU of each band over all processes: (len(half_widths),) float64 in 0..1, nan where a band is empty."""
        return mean_iou(self.confusion)
