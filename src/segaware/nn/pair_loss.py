"""The loss that teaches a network to embed pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.choices import Average, Hinge
from segaware.constants import IGNORE_INDEX
from segaware.ops import embedding_distance
from segaware.ops.arguments import (
    INTEGERS,
    check_devices,
    check_image,
    check_integer,
    check_tensor,
    compute_dtype,
    is_number,
)
from segaware.ops.distance.reference import Metric
from segaware.ops.window import IntPair, Window


class PairLoss(nn.Module):
    """Pull embeddings of one region together and push those of different regions apart (Eq. 1 and 2).

    A pair is a pixel and one of its neighbours in a small window. Pairs with equal labels cost max(d - alpha, 0), pairs
    with different labels max(beta - d, 0), d their distance. Pairs that touch `ignore_index`, that leave the image, or
    that are a pixel and itself are no pairs.

    Args:
        alpha: Distance up to which equal pixels are near enough.
        beta: Distance from which different pixels are far enough.
        kernel_size: Window size, odd.
        dilations: One window per dilation; their pairs are pooled.
        ignore_index: Label of pixels without a known region; None if there is no such label.
        average: "near_far" averages near pairs and far pairs separately and adds the two, so that the few far pairs
            are not drowned; "pairs" is the plain mean over all pairs of Eq. 2.
        hinge: "linear" is Eq. 1; "squared" is half its square, whose gradient the authors' release uses.
        metric: Distance between embeddings, see `segaware.ops.embedding_distance`.

    Example:
        >>> embedding = torch.randn(2, 64, 33, 33, requires_grad=True)
        >>> labels = torch.randint(0, 5, (2, 33, 33))
        >>> PairLoss()(embedding, labels).backward()
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 2.0,
        kernel_size: IntPair = 3,
        dilations: Sequence[int] = (1, 2, 5),
        ignore_index: int | None = IGNORE_INDEX,
        average: Average = "near_far",
        hinge: Hinge = "linear",
        metric: Metric = "l1",
    ) -> None:
        super().__init__()
        check_thresholds(alpha, beta)
        if not dilations:
            raise ValueError("dilations must name at least one dilation")
        if average not in get_args(Average):
            raise ValueError(f"average must be one of {get_args(Average)}, got {average!r}")
        if hinge not in get_args(Hinge):
            raise ValueError(f"hinge must be one of {get_args(Hinge)}, got {hinge!r}")
        # An odd window padded by half its span has its centre on the output pixel, whatever its dilation.
        self.windows = [Window.of(kernel_size, padding="same", dilation=d) for d in dilations]
        if not all(k % 2 for k in self.windows[0].kernel_size):
            raise ValueError(f"kernel_size must be odd, got {kernel_size!r}")
        self.alpha = alpha
        self.beta = beta
        if ignore_index is not None:
            ignore_index = check_integer("ignore_index", ignore_index, -(2**63), 2**63 - 1)
        self.ignore_index = ignore_index
        self.average = average
        self.hinge = hinge
        self.metric: Metric = metric

    def forward(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            embedding: Embeddings (N, E, H, W).
            labels: Regions (N, H, W), any integer dtype. Only equality within one image matters.

        Raises:
            ValueError: If `labels` does not have one integer per embedding, or lies on another device.
            TypeError: If one of the two is no tensor.
        """
        return self.mean(*self.sums(embedding, labels))

    def mean(self, near: Tensor, far: Tensor, near_pairs: Tensor, far_pairs: Tensor) -> Tensor:
        """Return the loss from what `sums` returns, or from the sums of that over several processes."""
        if self.average == "pairs":
            return (near + far) / (near_pairs + far_pairs).clamp(min=1)
        return near / near_pairs.clamp(min=1) + far / far_pairs.clamp(min=1)

    def sums(self, embedding: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the summed loss of near pairs and of far pairs, and how many of either there are."""
        check_labels(embedding, labels)
        labels = labels.long()  # holds any ignore_index
        terms = [self._window_sums(embedding, labels, window) for window in self.windows]
        near, far, near_pairs, far_pairs = (torch.stack(term).sum() for term in zip(*terms, strict=True))
        return near, far, near_pairs, far_pairs

    def _window_sums(self, embedding: Tensor, labels: Tensor, window: Window) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        distance = embedding_distance(
            embedding, window.kernel_size, padding="same", dilation=window.dilation, metric=self.metric
        )
        window = window.within(embedding)
        (top, bottom), (left, right) = window.padding
        centre = labels[:, None]
        known = torch.ones_like(centre) if self.ignore_index is None else (centre != self.ignore_index).long()
        # Beyond the image nothing is known.
        neighbour, known_neighbour = (
            torch.cat([window.view(padded, tap) for tap in window.taps()], dim=1)
            for padded in (F.pad(x, (left, right, top, bottom)) for x in (centre, known))
        )
        pair = (known_neighbour * known).bool()
        pair[:, window.size // 2] = False
        same = neighbour == centre
        near = self._hinge(distance - self.alpha) * (pair & same)
        far = self._hinge(self.beta - distance) * (pair & ~same)
        dtype = compute_dtype(embedding)  # the sum over an image is beyond half precision
        return near.sum(dtype=dtype), far.sum(dtype=dtype), (pair & same).sum(), (pair & ~same).sum()

    def _hinge(self, excess: Tensor) -> Tensor:
        return F.relu(excess) if self.hinge == "linear" else 0.5 * F.relu(excess).square()


def check_thresholds(alpha: float, beta: float) -> None:
    """Raise ValueError unless two distances can be the thresholds of near and of far pairs."""
    if not (is_number(alpha) and is_number(beta) and 0 <= alpha <= beta):
        raise ValueError(f"alpha and beta must satisfy 0 <= alpha <= beta, got alpha={alpha}, beta={beta}")


def check_labels(embedding: Tensor, labels: Tensor) -> None:
    """Raise ValueError or TypeError unless labels (N, H, W) are integers, one for each of embeddings (N, E, H, W)."""
    check_image("embedding", embedding, channels="E")
    expected = (embedding.shape[0], *embedding.shape[2:])
    wanted = f"integers of shape (N, H, W) = {expected}"
    check_tensor("labels", labels, wanted, lambda labels: labels.shape == expected, INTEGERS)
    check_devices(embedding=embedding, labels=labels)
