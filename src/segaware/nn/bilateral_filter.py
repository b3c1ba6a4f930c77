"""Segmentation-aware bilateral filter as a layer."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from torch import Tensor, nn

from segaware.nn.hardness import hardness_parameter, nonnegative, shown
from segaware.ops import attention_mask, embedding_distance, segaware_filter2d, segaware_median2d
from segaware.ops.arguments import check_context, check_devices, check_image, check_iterations
from segaware.ops.window import IntPair, Window

Reduce: TypeAlias = Literal["mean", "median"]

_CENTER_WEIGHT = 0.1  # of medians: see docs/architecture.md


class BilateralFilter2d(nn.Module):
    """Average each window over the pixels that belong with its centre (Eq. 4), to sharpen scores, depth or flow.

    Probabilities want the mean. Of values, such as depth or flow, a few percent of weight on the other side of a border
    move a mean by pixels; the weighted median stays on the side that has more than half of it.

    Args:
        kernel_size: Window size; the paper uses 9x9 once to four times, 7x7 twice, 5x5 four times.
        dilation: Step between taps.
        iterations: How often to filter, each time with the same mask.
        hardness: Start value of the learnable hardness (Eq. 3's lambda), 0 or more. The filter uses
            `max(hardness, 0)`.
        reduce: "mean", or "median" for `segaware_median2d` with a centre weight of 0.1, by which slopes and corners
            stay as they are. A median has no gradient for hardness and embedding: what learns them, trains with means.

    Raises:
        ValueError: If an argument is out of range; the message names it.

    Example:
        >>> scores, embedding = torch.randn(1, 21, 30, 40), torch.randn(1, 64, 30, 40)
        >>> BilateralFilter2d(9, iterations=2)(scores, embedding).shape
        torch.Size([1, 21, 30, 40])
    """

    def __init__(
        self,
        kernel_size: IntPair,
        dilation: IntPair = 1,
        iterations: int = 1,
        hardness: float = 1.0,
        reduce: Reduce = "mean",
    ) -> None:
        super().__init__()
        if reduce not in get_args(Reduce):
            raise ValueError(f"reduce must be one of {get_args(Reduce)}, got {reduce!r}")
        window = Window.of(kernel_size, padding="same", dilation=dilation)
        self.kernel_size = window.kernel_size
        self.dilation = window.dilation
        self.iterations = check_iterations(iterations)
        self.hardness = hardness_parameter(hardness)
        self.reduce: Reduce = reduce

    def distance(self, embedding: Tensor) -> Tensor:
        """Return the distances (N, K, H, W) of this filter's window over an embedding (N, E, H, W)."""
        return embedding_distance(embedding, self.kernel_size, padding="same", dilation=self.dilation)

    def forward(self, input: Tensor, embedding: Tensor | None = None, *, distance: Tensor | None = None) -> Tensor:
        """Filter `input` under the mask of its embedding.

        Args:
            input: What to sharpen, (N, C, H, W).
            embedding: One embedding per pixel, (N, E, H, W).
            distance: Instead of an embedding, its distances (N, K, H, W).

        Returns:
            The filtered input, (N, C, H, W).

        Raises:
            ValueError: If not exactly one of `embedding` and `distance` is given, or shapes, dtypes or devices do not
                fit.
            TypeError: If what must be a tensor is none.
        """
        check_image("input", input)
        check_context("BilateralFilter2d", embedding, distance)
        check_devices(input=input, embedding=embedding, distance=distance, hardness=self.hardness)
        if embedding is not None:
            distance = self.distance(embedding)
        assert distance is not None
        mask = attention_mask(distance, nonnegative(self.hardness))
        window = self.kernel_size, self.dilation, self.iterations
        if self.reduce == "median":
            return segaware_median2d(input, mask, *window, center_weight=_CENTER_WEIGHT)
        return segaware_filter2d(input, mask, *window)

    def extra_repr(self) -> str:
        """Describe the filter."""
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, iterations={self.iterations}, "
            f"hardness={shown(self.hardness)}" + f", reduce={self.reduce!r}" * (self.reduce != "mean")
        )


def edge_filter(iterations: int = 2, reduce: Reduce = "mean") -> BilateralFilter2d:
    """Return what moves borders onto those of colours, after a filter over embeddings, of a coarser stride for means.

    L1 distances of colours times 17, in windows of 5x5 pixels for means, as was best on photographs for training, and
    of 9x9 for medians, which do not blur. It learns nothing.

    Args:
        iterations: How often to filter.
        reduce: "mean" for probabilities, "median" for values; see `BilateralFilter2d`.

    Returns:
        A filter whose embedding is the image itself, (N, 3, H, W) in 0..1.

    Raises:
        ValueError: If `iterations` is no positive integer, or `reduce` is unknown.

    Example:
        >>> probabilities, image = torch.rand(1, 21, 60, 80), torch.rand(1, 3, 60, 80)
        >>> edge_filter()(probabilities, image).shape
        torch.Size([1, 21, 60, 80])
    """
    kernel_size = 9 if reduce == "median" else 5
    return BilateralFilter2d(kernel_size, iterations=iterations, hardness=17.0, reduce=reduce).requires_grad_(False)
