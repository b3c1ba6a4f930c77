"""Segmentation-aware upsampling as a layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segaware.nn.hardness import hardness_parameter, nonnegative, shown
from segaware.nn.resampling import sampled_size
from segaware.ops import segaware_upsample
from segaware.ops.arguments import check_devices, check_image, check_integer
from segaware.ops.upsampling.op import MOST_RADIUS


class SegAwareUpsample(nn.Module):
    """Upsample coarse scores, depth or flow to an image's pixels along its borders, in place of `F.interpolate`.

    A pixel takes the values of the coarse points around it whose embeddings are near its own, see
    [`segaware_upsample`][segaware.ops.segaware_upsample]. The embedding of a point is the image's where the point lies.

    Args:
        radius: From how far away a pixel takes values, in coarse points, 1 to 16.
        stride: If points lie on every `stride`-th pixel, as those of strided layers with padding and as in
            [`upsample`][segaware.nn.upsample]; None if they are the centres of cells, as in
            `F.interpolate(..., align_corners=False)`.
        hardness: Start value of the learnable hardness (Eq. 3's lambda), 0 or more; with 0, and radius 1, this is
            bilinear interpolation. The layer uses `max(hardness, 0)`.

    Raises:
        ValueError: If an argument is out of range; the message names it.

    Example:
        >>> scores, embedding = torch.randn(1, 21, 5, 7), torch.randn(1, 64, 40, 56)
        >>> SegAwareUpsample()(scores, embedding).shape
        torch.Size([1, 21, 40, 56])
    """

    def __init__(self, radius: int = 2, stride: int | None = None, hardness: float = 1.0) -> None:
        super().__init__()
        self.radius = check_integer("radius", radius, 1, MOST_RADIUS)
        self.stride = None if stride is None else check_integer("stride", stride, 1)
        self.hardness = hardness_parameter(hardness)

    def forward(self, input: Tensor, embedding: Tensor) -> Tensor:
        """Upsample `input` to the pixels of an embedding.

        Args:
            input: Values at coarse points, (N, C, h, w); with a stride, h = ceil(H / stride) and w likewise.
            embedding: One embedding per pixel, (N, E, H, W).

        Returns:
            The values of all pixels, (N, C, H, W).

        Raises:
            ValueError: If shapes, dtypes or devices do not fit.
            TypeError: If what must be a tensor is none.
        """
        check_image("input", input)
        check_image("embedding", embedding, channels="E")
        check_devices(input=input, embedding=embedding, hardness=self.hardness)
        points, side = (input.shape[-2], input.shape[-1]), None
        if self.stride is None:
            batch = embedding if embedding.dim() == 4 else embedding[None]
            coarse = F.interpolate(batch, points, mode="bilinear").view(*embedding.shape[:-2], *points)
        else:
            expected = sampled_size((embedding.shape[-2], embedding.shape[-1]), self.stride)
            if points != expected:
                raise ValueError(f"input must have size {expected} at stride {self.stride}, got {points}")
            coarse, side = embedding[..., :: self.stride, :: self.stride], (1 / self.stride, 0.0)
        return segaware_upsample(input, embedding, coarse, nonnegative(self.hardness), self.radius, side, side)

    def extra_repr(self) -> str:
        """Describe the layer."""
        return f"radius={self.radius}, stride={self.stride}, hardness={shown(self.hardness)}"
