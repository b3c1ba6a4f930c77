"""Losses over pairs of pixels at random offsets: for embeddings that must tell regions apart far away, too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.constants import GROUND_INDEX, IGNORE_INDEX
from segaware.nn.offsets import Offset, random_offsets
from segaware.nn.pair_loss import check_labels, check_thresholds
from segaware.ops.arguments import check_devices, check_image, check_integer, compute_dtype, is_number

_FAR = 6.0  # pixels from which on every second row and column tells as much


class OffsetPairLoss(nn.Module):
    """Pull embeddings of one region together and push those of different regions apart, near and far (Eq. 1 and 2).

    Where `PairLoss` compares a pixel with the neighbours in its windows, this draws offsets for every call: three of 1,
    2 and 3 pixels, whose different pairs straddle a border, and others of up to `radius` pixels. Every offset costs two
    views of the embedding, and no windows. At each, near and far pairs are averaged on their own, and then the offsets:
    so neither the few pairs across a border are drowned nor those that are far away.

    Args:
        alpha: L1 distance up to which pixels of a region are near enough.
        beta: Distance from which pixels of different regions are far enough.
        radius: Length of the longest offsets, in pixels.
        count: How many offsets beyond 3 pixels to draw, with lengths spread evenly over scales.
        ignore_index: Label of pixels without a known region.
        ground_index: Label of pixels behind all objects: such a pixel is of no region, but two of them may be alike or
            not, and are no pair.

    Raises:
        ValueError: If an argument is out of range; the message names it.

    Example:
        >>> from segaware.nn import OffsetPairLoss
        >>> embedding = torch.randn(2, 16, 97, 97, requires_grad=True)
        >>> labels = torch.randint(0, 5, (2, 97, 97))
        >>> OffsetPairLoss()(embedding, labels).backward()
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 2.0,
        radius: float = 64.0,
        count: int = 5,
        ignore_index: int = IGNORE_INDEX,
        ground_index: int = GROUND_INDEX,
    ) -> None:
        super().__init__()
        check_thresholds(alpha, beta)
        self.alpha, self.beta = alpha, beta
        self.radius, self.count = check_reach(radius, count)
        self.ignore_index, self.ground_index = ignore_index, ground_index

    def forward(self, embedding: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss, a scalar; 0 where there are no pairs.

        Args:
            embedding: Embeddings (N, E, H, W).
            labels: Regions (N, H, W), any integer dtype. Only equality within one image matters.
            generator: Of the offsets; None for torch's own.

        Raises:
            ValueError: If `labels` does not have one integer per embedding, or lies on another device.
            TypeError: If one of the two is no tensor.
        """
        return self.mean(*self.sums(embedding, labels, generator))

    def mean(self, near: Tensor, far: Tensor, near_pairs: Tensor, far_pairs: Tensor) -> Tensor:
        """Return the loss from what `sums` returns, or from the sums of that over several processes."""
        means = near / near_pairs.clamp(min=1) + far / far_pairs.clamp(min=1)
        # Offsets beyond the image, and those without pairs, say nothing.
        return means.sum() / ((near_pairs + far_pairs) > 0).sum().clamp(min=1)

    def sums(
        self, embedding: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the summed loss of near and of far pairs at every offset, (K,) each, and how many there are.

        Args:
            embedding: As in `forward`.
            labels: As in `forward`.
            generator: As in `forward`.
        """
        check_labels(embedding, labels)
        labels = labels.long()  # holds any index
        offsets = random_offsets(self.radius, self.count, generator)
        near, far, near_pairs, far_pairs = zip(*(self._at(embedding, labels, o) for o in offsets), strict=True)
        return torch.stack(near), torch.stack(far), torch.stack(near_pairs), torch.stack(far_pairs)

    def _at(self, embedding: Tensor, labels: Tensor, offset: Offset) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        distance = distance_at(embedding, offset)
        first, second = thinned(labels, offset)
        known = (first != self.ignore_index) & (second != self.ignore_index)
        known &= (first != self.ground_index) | (second != self.ground_index)
        same = known & (first == second)
        different = known & (first != second)
        near = F.relu(distance - self.alpha) * same
        far = F.relu(self.beta - distance) * different
        dtype = compute_dtype(embedding)  # the sum over an image is beyond half precision
        return near.sum(dtype=dtype), far.sum(dtype=dtype), same.sum(), different.sum()


class MaskLoss(nn.Module):
    """Teach an embedding the masks of another one: exp(-d / 2) at random offsets, not its coordinates.

    Distances d of a trained network are up to ten and more between regions, where any mask is 0 and how far they are
    says nothing; what falls with them tells 0 from 1 as well as 1 from 3. Half a distance is that of hardness 0.5.

    Args:
        radius: Length of the longest offsets, in pixels of the maps.
        count: How many offsets beyond 3 pixels to draw.

    Example:
        >>> from segaware.nn import MaskLoss
        >>> student, teacher = torch.randn(1, 16, 50, 70, requires_grad=True), torch.randn(1, 64, 50, 70)
        >>> MaskLoss()(student, teacher).backward()
    """

    def __init__(self, radius: float = 24.0, count: int = 5) -> None:
        super().__init__()
        self.radius, self.count = check_reach(radius, count)

    def forward(self, student: Tensor, teacher: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the mean absolute difference of the masks, a scalar.

        Args:
            student: Embeddings (N, E, H, W).
            teacher: Embeddings of the same pixels, (N, F, H, W).
            generator: Of the offsets; None for torch's own.

        Raises:
            ValueError: If the two are not of the same pixels.
            TypeError: If one of the two is no tensor.
        """
        check_image("student", student, channels="E")
        check_image("teacher", teacher, channels="F")
        check_devices(student=student, teacher=teacher)
        if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
            raise ValueError(
                f"teacher must embed the pixels of student, (N, F, H, W) for {tuple(student.shape)}, got "
                f"{tuple(teacher.shape)}"
            )
        losses = [
            (torch.exp(-distance_at(student, offset) / 2) - torch.exp(-distance_at(teacher, offset) / 2)).abs().mean()
            for offset in random_offsets(self.radius, self.count, generator)
            if offset.down < student.shape[-2] and abs(offset.right) < student.shape[-1]
        ]
        return torch.stack(losses).mean() if losses else student.sum() * 0


def check_reach(radius: float, count: int) -> tuple[float, int]:
    """Return the reach of random offsets, or raise a ValueError."""
    if not (is_number(radius) and radius >= 4):
        raise ValueError(f"radius must be a number of pixels of at least 4, got {radius!r}")
    return radius, check_integer("count", count, 0, 256)


def thinned(map: Tensor, offset: Offset) -> tuple[Tensor, Tensor]:
    """Return the two pixels of every pair at an offset; of long offsets, every second row and column."""
    first, second = offset.views(map)
    step = 2 if offset.length >= _FAR else 1
    return first[..., ::step, ::step], second[..., ::step, ::step]


def distance_at(embedding: Tensor, offset: Offset) -> Tensor:
    """Return the L1 distances of pairs at an offset, (N, h, w)."""
    first, second = thinned(embedding, offset)
    return (first - second).abs().sum(1)
