"""Pictures of what two networks make of a pair of images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from segaware.data.flow import FlowSample
from segaware.experiments.tasks.panels import Panels, shrunk
from segaware.metrics import end_point_error
from segaware.viz import embedding_colors, flow_colors, flow_legend, image_picture
from segaware.viz.flow_colors import error_colors

_FULL = 0.99  # share of the true flow that is drawn without darkening
_WORST = 10.0  # pixels; errors from here on look the same
_LEGEND = 96  # pixels


@torch.inference_mode()
def draw_pairs(
    sample: FlowSample, titles: Sequence[str], networks: Sequence[nn.Module], caption: str, reduce: int
) -> Panels:
    """Draw the first image, the true flow and its legend, both estimates, their errors, and the second's embedding."""
    flows = [network(sample.image1[None], sample.image2[None])[0] for network in networks]
    length = torch.linalg.vector_norm(sample.flow, dim=0)[sample.valid]
    max_norm = max(1.0, float(length.quantile(_FULL))) if length.numel() else 1.0
    legend = flow_legend(_LEGEND, max_norm)
    kinds = ("first", caption)

    shrink = partial(shrunk, reduce=reduce)
    image = shrink(sample.name, image_picture(sample.image1))
    missing = max(0, len(image[1]) - _LEGEND)
    padded = np.pad(legend[: len(image[1])], ((0, missing), (0, 0), (0, 0)), constant_values=255)
    embed = getattr(networks[1], "embedding", None)
    embedding = [] if embed is None else [shrink("embedding (PCA)", embedding_colors(embed(sample.image1[None])[0]))]
    return Panels(
        [image, shrink("truth", flow_colors(sample.flow, max_norm, sample.valid))],
        [shrink(title, flow_colors(flow, max_norm)) for title, flow in zip(titles, flows, strict=True)],
        [
            shrink(f"errors, {kind}", error_colors(end_point_error(flow, sample.flow), _WORST, sample.valid))
            for kind, flow in zip(kinds, flows, strict=True)
        ],
        [*embedding, ("", padded)],
    )
