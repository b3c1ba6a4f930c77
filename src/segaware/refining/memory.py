"""How much memory refining takes."""

from __future__ import annotations

import math
import re

from segaware.nn import BilateralFilter2d, ColorEmbedding, DenseCRF, Embedding, EmbeddingNet, FastEmbeddingNet
from segaware.process_memory import process_memory
from segaware.refining.layers import RefiningLayer, takes_median
from segaware.refining.tiles import Extent

_UNITS = {"": 1, "B": 1, **{f"{p}B": 1000 ** (i + 1) for i, p in enumerate("KMGT")}} | {
    f"{p}IB": 1024 ** (i + 1) for i, p in enumerate("KMGT")
}
_RESIDENT = 600e6  # what the process has taken, where the system does not tell
_RETAINED = 300e6  # freed memory that the allocator keeps within a tile
STRIP = 64  # rows that are filtered over colours at once
RESERVE = 0.1  # of what a tile may take


def parse_memory(text: str | int) -> int:
    """Return a number of bytes from text such as "4GB", "500 MB" or "2GiB", or from a number of bytes.

    Args:
        text: Such as "4GB", "500 MB" or "2GiB"; a number is one of bytes.

    Raises:
        ValueError: If it is not positive, or of another form.

    Example:
        >>> parse_memory("4GB"), parse_memory("1.5GiB")
        (4000000000, 1610612736)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text))
    unit = match.group(2).upper() if match else ""
    if match is None or unit not in _UNITS or not 1 <= float(match.group(1)) * _UNITS[unit] < math.inf:
        raise ValueError(f"max_memory must be a number of bytes or like '4GB', '500MB' or '2GiB', got {text!r}")
    return int(float(match.group(1)) * _UNITS[unit])


def memory_left(limit: int, held: int) -> float:
    """Return the bytes that a tile may take: of the limit, what the process has not taken, less a reserve.

    Args:
        limit: The most that the process may take.
        held: What it will take beside its tiles, and has not yet.
    """
    try:
        resident = process_memory("VmRSS") * 1e6
    except OSError:
        resident = _RESIDENT
    return (limit - resident - held - _RETAINED) * (1 - RESERVE)


# The figures below are peaks above what the process held before, measured on 1024x1024 pixels for several numbers of
# channels, in floats of 4 bytes, and rounded up.


def embedding_cost(network: Embedding, stride: int, extent: Extent) -> float:
    """Return the bytes that embedding a tile takes.

    Args:
        network: What embeds pixels. Of one that is not segaware's, eight tensors of its most channels at the size of
            the image are counted, whatever its strides.
        stride: The stride at which the embedding is wanted.
        extent: Of the tile.
    """
    finest = stride % 2 > 0  # then features of stride 2 and 4 are upsampled to the image
    dim = network.dim
    if isinstance(network, ColorEmbedding):
        floats = 12.0
    elif isinstance(network, FastEmbeddingNet):  # its features at stride 2, or afterwards the upsampling
        width = network.widths[0]
        floats = max(20 + 0.6 * width + 0.3 * dim, 12 + 0.25 * width + 2.8 * dim if finest else 0)
    elif isinstance(network, EmbeddingNet):  # its convolutions at full resolution, or afterwards three embeddings
        width = network.widths[0]
        floats = 12 + max(3.1 * width, 4.6 * dim if finest else 1.1 * width + 2.6 * dim)
    else:
        floats = 12.0 + 8 * max(dim, *(max(p.shape[:2]) for p in network.parameters() if p.dim() == 4), 3)
    return 4 * floats * extent.padded[0] * extent.padded[1]


def layer_cost(
    layer: RefiningLayer, channels: int, given: int, dim: int, stride: int, spacing: float, extent: Extent
) -> float:
    """Return the bytes that refining a tile takes.

    Args:
        layer: What refines.
        channels: Channels of what is refined.
        given: Channels of what is given, of which some may be left out.
        dim: Channels of the embedding.
        stride: Of the layer to the image.
        spacing: Pixels of the image from one point of the scores to the next.
        extent: Of the tile.
    """
    core, padded = (height * width for height, width in (extent.core, extent.padded))
    output = 4 * channels * core  # upsampled, with a border, and what is made of it
    if isinstance(layer, DenseCRF):  # as of the most detailed photographs
        return 4.0 * ((80 + 9 * channels) * padded + output)
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    if isinstance(layer, BilateralFilter2d):  # distances and mask; what is filtered, once and once again
        floats = 2 * taps + _filtered(layer) * channels + dim
    else:  # distances, which become the mask; the mask of the other mean; logits and three more of their size
        floats = taps + layer.spatial_window.size + 5 * channels + dim
    read = 3 * given * padded / spacing**2
    return 4.0 * (max(floats * padded / stride**2, output + channels * padded / stride**2) + read)


def _filtered(layer: BilateralFilter2d) -> int:
    """Return the floats per channel that a filter takes: a median's keys and taps beside input and output."""
    return 10 if takes_median(layer) else 4


def edges_cost(layer: BilateralFilter2d, channels: int, extent: Extent) -> float:
    """Return the bytes that the filter over colours takes: the image, what is filtered and the result, and a strip."""
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    strip = 2 * taps + _filtered(layer) * channels + 3
    return 4.0 * extent.core[1] * ((3 + 2 * channels) * extent.core[0] + strip * (STRIP + 16))


def blend_cost(channels: int, masks: bool, extent: Extent) -> float:
    """Return the bytes that taking a part of the filter takes: what was given, and how unsure it is, per mask."""
    return 4.0 * (channels + 4 * (channels if masks else 1)) * extent.core[0] * extent.core[1]
