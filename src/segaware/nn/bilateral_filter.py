"""Segmentation-aware bilateral filter as a layer."""

from __future__ import annotations

from torch import Tensor, nn

from segaware.nn.hardness import hardness_parameter, nonnegative, shown
from segaware.ops import attention_mask, embedding_distance, segaware_filter2d
from segaware.ops.arguments import check_context, check_devices, check_image, check_iterations
from segaware.ops.window import IntPair, Window


class BilateralFilter2d(nn.Module):
    """Average each window over the pixels that belong with its centre (Eq. 4), to sharpen scores, depth or flow.

    Args:
        kernel_size: Window size; the paper uses 9x9 once to four times, 7x7 twice, 5x5 four times.
        dilation: Step between taps.
        iterations: How often to filter, each time with the same mask.
        hardness: Start value of the learnable hardness (Eq. 3's lambda), 0 or more. The filter uses
            `max(hardness, 0)`.

    Raises:
        ValueError: If an argument is out of range; the message names it.

    Example:
        >>> scores, embedding = torch.randn(1, 21, 30, 40), torch.randn(1, 64, 30, 40)
        >>> BilateralFilter2d(9, iterations=2)(scores, embedding).shape
        torch.Size([1, 21, 30, 40])
    """

    def __init__(self, kernel_size: IntPair, dilation: IntPair = 1, iterations: int = 1, hardness: float = 1.0) -> None:
        super().__init__()
        window = Window.of(kernel_size, padding="same", dilation=dilation)
        self.kernel_size = window.kernel_size
        self.dilation = window.dilation
        self.iterations = check_iterations(iterations)
        self.hardness = hardness_parameter(hardness)

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
        return segaware_filter2d(input, mask, self.kernel_size, self.dilation, self.iterations)

    def extra_repr(self) -> str:
        """Describe the filter."""
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, iterations={self.iterations}, "
            f"hardness={shown(self.hardness)}"
        )


def edge_filter(iterations: int = 2) -> BilateralFilter2d:
    """Return what moves borders onto those of colours, after a filter at a coarser stride than the image's.

    Windows of 5x5 pixels and L1 distances of colours times 17, as was best on photographs for training. It learns
    nothing.

    Args:
        iterations: How often to filter.

    Returns:
        A filter whose embedding is the image itself, (N, 3, H, W) in 0..1.

    Raises:
        ValueError: If `iterations` is no positive integer.

    Example:
        >>> probabilities, image = torch.rand(1, 21, 60, 80), torch.rand(1, 3, 60, 80)
        >>> edge_filter()(probabilities, image).shape
        torch.Size([1, 21, 60, 80])
    """
    return BilateralFilter2d(5, iterations=iterations, hardness=17.0).requires_grad_(False)
