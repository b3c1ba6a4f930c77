"""Segmentation-aware upsampling: the contract."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from segaware.ops._backends import Backend, choose_backend
from segaware.ops.arguments import check_devices, check_image, check_integer, check_tensor, compute_dtype, is_number
from segaware.ops.mask import check_hardness, within_range
from segaware.ops.upsampling import library, reference
from segaware.ops.upsampling.taps import Side, places

MOST_RADIUS = 16  # beyond sense: 1024 taps


def segaware_upsample(
    input: Tensor,
    embedding: Tensor,
    coarse_embedding: Tensor,
    hardness: float | Tensor,
    radius: int = 2,
    rows: Side | None = None,
    columns: Side | None = None,
    backend: Backend | None = None,
) -> Tensor:
    """Upsample coarse values along the borders of an image, u(x) = sum_y v(y) t(x, y) m(x, y) / sum_y t(x, y) m(x, y).

    This is joint bilateral upsampling (Kopf et al. 2007) with learned embeddings, or Eq. 4 of Harley et al. 2017 with
    centres x and taps y on different grids: m(x, y) = exp(-hardness * ||E(x) - e(y)||_1) is the mask of Eq. 3 between
    the embedding of a pixel and that of a coarse point, and t the product over both sides of a tent
    max(0, 1 - |c(x) - y| / radius), where c(x) = scale * x + offset is where pixel x lies among the points.
    With hardness 0 and radius 1 this is bilinear interpolation.

    Args:
        input: Values v at coarse points, such as scores, depth or flow, (N, C, h, w) or (C, h, w).
        embedding: Embedding E of every pixel, (N, E, H, W) or (E, H, W).
        coarse_embedding: Embedding e of every coarse point, (N, E, h, w) or (E, h, w).
        hardness: The paper's lambda, 0 or more; a float, or a tensor without dimensions (for learning).
        radius: From how far away a pixel takes values, in coarse points, 1 to 16: a pixel sees (2 * radius)^2 points.
        rows: Scale, 0 or more, and offset of the rows: pixel y lies at row `scale * y + offset` of the points; beyond
            the first and the last, on these. None for points that are the centres of cells, as those of
            `F.interpolate(..., align_corners=False)`: (h / H, h / (2 * H) - 0.5). Points on every s-th pixel have
            (1 / s, 0). For a part of an image that begins at row p, add scale * p to the offset.
        columns: The same for the columns.
        backend: "reference", "numba", "triton", or None for what `use_backend` chose, by default the fastest for the
            device.

    Returns:
        The values of all pixels, (N, C, H, W) or (C, H, W), in the dtype of `input`. Half precisions are accumulated in
        float32. The nearest embedding that a pixel sees has mask 1 here, which changes nothing but that a pixel whose
        embedding is far from all takes the value of the nearest.

    Raises:
        ValueError: If a shape, dtype, device or option does not fit; the message names the argument.
        TypeError: If what must be a tensor is none.
        RuntimeError: If the backend that was asked for cannot run here.

    Example:
        >>> coarse, step = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]]])
        >>> segaware_upsample(coarse, step, step[..., [1, 5]], hardness=50.0).round(decimals=3)
        tensor([[[[0., 0., 0., 0., 0., 1.]]]])
    """
    _check_shapes(input, embedding, coarse_embedding)
    check_hardness(hardness, "a number or a floating-point tensor without dimensions", lambda tensor: tensor.dim() == 0)
    radius = check_integer("radius", radius, 1, MOST_RADIUS)
    rows, columns = _checked_side("rows", rows), _checked_side("columns", columns)
    learned = hardness if isinstance(hardness, Tensor) else None
    check_devices(input=input, embedding=embedding, coarse_embedding=coarse_embedding, hardness=learned)
    chosen = choose_backend(backend, input.device)

    dtype = compute_dtype(input)
    batches = [t if input.dim() == 4 else t[None] for t in (input, embedding, coarse_embedding)]
    if chosen != "triton" or not embedding.dtype == coarse_embedding.dtype == input.dtype:
        batches = [t.to(dtype) for t in batches]  # Triton's kernels read half precisions
    if not isinstance(hardness, Tensor):
        hardness = torch.full((), hardness, device=input.device)
    values, pixels, points = batches
    vertical = places(rows, pixels.shape[2], points.shape[2], input.device)
    horizontal = places(columns, pixels.shape[3], points.shape[3], input.device)
    run = reference.segaware_upsample if chosen == "reference" else functools.partial(library.upsample, backend=chosen)
    output = run(values, pixels, points, within_range(hardness, dtype), vertical, horizontal, radius)
    output = output.to(input.dtype)
    return output if input.dim() == 4 else output[0]


def _check_shapes(input: Tensor, embedding: Tensor, coarse_embedding: Tensor) -> None:
    check_image("input", input)
    check_image("embedding", embedding, channels="E")
    if embedding.shape[:-3] != input.shape[:-3]:
        raise ValueError(
            f"embedding must have as many images as input, of shape {tuple(input.shape)}, got shape "
            f"{tuple(embedding.shape)}"
        )
    expected = (*embedding.shape[:-2], *input.shape[-2:])
    wanted = f"a floating-point tensor with the embedding of every point of input, shape (N, E, h, w) = {expected}"
    check_tensor("coarse_embedding", coarse_embedding, wanted, lambda tensor: tuple(tensor.shape) == expected)


def _checked_side(name: str, side: Side | None) -> Side | None:
    if side is None:
        return None
    if not (isinstance(side, (tuple, list)) and len(side) == 2 and all(map(is_number, side)) and side[0] >= 0):
        raise ValueError(f"{name} must be None or two finite numbers, a scale of 0 or more and an offset, got {side!r}")
    return float(side[0]), float(side[1])
