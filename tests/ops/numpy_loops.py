"""The equations as loops over single output values, written from the paper: what the operators are held against."""

from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pair = int | tuple[int, int]
Padding = Pair | Literal["same", "valid"]
Pixel = tuple[int, int]


def windows(
    image_size: Pixel, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> list[list[list[Pixel]]]:
    """The pixel (y, x) under every tap of every window, [output row][output column][tap]; it may be off the image."""
    axes = []
    for axis in range(2):
        length, taps, step, spread = (_along(axis, v) for v in (image_size, kernel_size, stride, dilation))
        reach = spread * (taps - 1)
        before = reach // 2 if padding == "same" else 0 if padding == "valid" else _along(axis, padding)
        after = reach - before if padding == "same" else before
        starts = range(-before, length + after - reach, step)
        axes.append([[start + spread * tap for tap in range(taps)] for start in starts])
    return [[list(product(ys, xs)) for xs in axes[1]] for ys in axes[0]]


def _along(axis: int, value: Pair) -> int:
    return value if isinstance(value, int) else value[axis]


def _inside(pixel: Pixel, image: Array) -> bool:
    return 0 <= pixel[0] < image.shape[-2] and 0 <= pixel[1] < image.shape[-1]


def embedding_distance(
    embedding: Array, kernel_size: Pair, metric: str, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1
) -> Array:
    """d_ik = ||e_i - e_k||, 0 where i or k is outside the image."""
    grid = windows(embedding.shape[-2:], kernel_size, stride, padding, dilation)
    taps = _along(0, kernel_size) * _along(1, kernel_size)
    centre = _along(0, kernel_size) // 2 * _along(1, kernel_size) + _along(1, kernel_size) // 2
    distance = np.zeros((len(embedding), taps, len(grid), len(grid[0])))
    for n, k, oy, ox in np.ndindex(distance.shape):
        here, there = grid[oy][ox][centre], grid[oy][ox][k]
        if _inside(here, embedding) and _inside(there, embedding):
            difference = [abs(e[here] - e[there]) for e in embedding[n]]
            squares = sum(d * d for d in difference)
            distance[n, k, oy, ox] = {"l1": sum(difference), "sqeuclidean": squares, "euclidean": squares**0.5}[metric]
    return distance


def segaware_conv2d(
    input: Array,
    weight: Array,
    mask: Array,
    bias: Array,
    normalize: str,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """Eq. 7: y_i = sum_k x_k m_ik t_k / sum_k m_ik, plus the bias."""
    filters, channels, kh, kw = weight.shape
    grid = windows(input.shape[-2:], (kh, kw), stride, padding, dilation)
    output = np.zeros((len(input), filters, len(grid), len(grid[0])))
    for n, f, oy, ox in np.ndindex(output.shape):
        first = f // (filters // groups) * channels
        total = 0.0
        for k, pixel in enumerate(grid[oy][ox]):
            if _inside(pixel, input):
                x = input[n, first : first + channels, pixel[0], pixel[1]]
                total += mask[n, k, oy, ox] * float(x @ weight[f, :, k // kw, k % kw])
        mask_sum = sum(mask[n, :, oy, ox])
        total /= {"sum": mask_sum, "mean": mask_sum / (kh * kw), "none": 1.0}[normalize]
        output[n, f, oy, ox] = total + bias[f]
    return output


def segaware_upsample(
    input: Array, embedding: Array, coarse: Array, hardness: float, radius: int, sides: list[tuple[float, float]]
) -> Array:
    """u(x) = sum_y t m v(y) / sum_y t m, the mask m of L1 distances, the tent t around c(x) = scale * x + offset."""
    output = np.zeros((*input.shape[:2], *embedding.shape[2:]))
    for n, y, x in np.ndindex(len(input), *embedding.shape[2:]):
        total = 0.0
        at = [
            min(max(scale * pixel + offset, 0), length - 1)
            for pixel, (scale, offset), length in zip((y, x), sides, input.shape[2:], strict=True)
        ]
        for i, j in np.ndindex(*input.shape[2:]):
            tent = max(0, 1 - abs(at[0] - i) / radius) * max(0, 1 - abs(at[1] - j) / radius)
            weight = tent * np.exp(-hardness * np.abs(embedding[n, :, y, x] - coarse[n, :, i, j]).sum())
            output[n, :, y, x] += weight * input[n, :, i, j]
            total += weight
        output[n, :, y, x] /= total
    return output


def segaware_filter2d(
    input: Array, mask: Array, kernel_size: Pair, dilation: Pair, iterations: int, border: str
) -> Array:
    """Eq. 4: y_i = sum_k x_k m_ik / sum_k m_ik, with the taps outside the image left out or counted as 0."""
    grid = windows(input.shape[-2:], kernel_size, 1, "same", dilation)
    for _ in range(iterations):
        output = np.zeros_like(input)
        for n, c, oy, ox in np.ndindex(output.shape):
            inside = [(k, pixel) for k, pixel in enumerate(grid[oy][ox]) if _inside(pixel, input)]
            counted = [k for k, _ in inside] if border == "exclude" else range(mask.shape[1])
            masked = sum(input[n, c][pixel] * mask[n, k, oy, ox] for k, pixel in inside)
            output[n, c, oy, ox] = masked / sum(mask[n, k, oy, ox] for k in counted)
        input = output
    return input


def segaware_median2d(
    input: Array, mask: Array, kernel_size: Pair, dilation: Pair, iterations: int, center_weight: float = 0
) -> Array:
    """The least value of a window such that those up to it have half of the weight, or more; NaN has none."""
    grid = windows(input.shape[-2:], kernel_size, 1, "same", dilation)
    centre = _along(0, kernel_size) // 2 * _along(1, kernel_size) + _along(1, kernel_size) // 2
    for _ in range(iterations):
        output = np.full_like(input, np.nan)
        for n, c, oy, ox in np.ndindex(output.shape):
            taps = [(k, p) for k, p in enumerate(grid[oy][ox]) if _inside(p, input)]
            extra = center_weight * sum(mask[n, k, oy, ox] for k, _ in taps)
            inside = [(input[n, c][p], mask[n, k, oy, ox] + (extra if k == centre else 0)) for k, p in taps]
            known = sorted((x, m) for x, m in inside if not np.isnan(x) and m > 0)
            for x, _ in known:
                if 2 * sum(m for value, m in known if value <= x) >= sum(m for _, m in known):
                    output[n, c, oy, ox] = x
                    break
        input = output
    return input
