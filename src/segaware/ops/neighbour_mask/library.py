"""What torch's compiler and exporter know about the kernels of `neighbour_mask_`; they have no gradient."""

from __future__ import annotations

from torch import Tensor

from segaware.ops._backends import kernels
from segaware.ops._library import fake, operator


@operator(mutates=["distance"])
def neighbour_mask_(
    distance: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor, backend: str = "numba"
) -> None:  # the default is for programs that were exported before there was another
    """Replace distances (N, KH * KW, H, W), contiguous and float32, by exp(-hardness * d + rows + columns) in [0, 1].

    That is over its largest value at the pixel. `rows` (KH, H) and `columns` (KW, W) belong to the rows and columns of
    taps. The centre has mask 0.
    """
    kernels("neighbour_mask", backend).mask(distance, hardness, rows, columns)


@fake(neighbour_mask_)
def _() -> None:
    return None
