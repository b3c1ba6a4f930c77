"""Pictures of where one trained flow recipe errs less than another, and where more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from segaware.data.flow import FlowSample
from segaware.experiments.flow_evaluation import FlowScores
from segaware.metrics import end_point_error, mean_flow_errors
from segaware.viz import embedding_colors, flow_colors, flow_legend, side_by_side
from segaware.viz.flow_colors import error_colors

_FULL = 0.99  # share of the true flow that is drawn without darkening
_WORST = 10.0  # pixels; errors from here on look the same
_LEGEND = 96  # pixels


def flow_gains(first: FlowScores, second: FlowScores) -> Tensor:
    """Return by how many pixels the second's mean end-point error is lower on each pair."""
    return (mean_flow_errors(first.sums[:, 0]) - mean_flow_errors(second.sums[:, 0])).nan_to_num(0)


@torch.inference_mode()
def draw_flow_row(
    sample: FlowSample, titles: Sequence[str], networks: Sequence[nn.Module], caption: str, reduce: int
) -> np.ndarray:
    """Draw the first image, the true flow and its legend, both estimates, their errors, and the second's embedding."""
    flows = [network(sample.image1[None], sample.image2[None])[0] for network in networks]
    length = torch.linalg.vector_norm(sample.flow, dim=0)[sample.valid]
    max_norm = max(1.0, float(length.quantile(_FULL))) if length.numel() else 1.0
    image = (sample.image1.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    legend = flow_legend(_LEGEND, max_norm)
    panels = [
        (sample.name, image),
        ("truth", flow_colors(sample.flow, max_norm, sample.valid)),
        *((title, flow_colors(flow, max_norm)) for title, flow in zip(titles, flows, strict=True)),
        *(
            (f"errors, {kind}", error_colors(end_point_error(flow, sample.flow), _WORST, sample.valid))
            for kind, flow in zip(("first", caption), flows, strict=True)
        ),
    ]
    embed = getattr(networks[1], "embedding", None)
    if embed is not None:
        panels.append(("embedding (PCA)", embedding_colors(embed(sample.image1[None])[0])))
    shrunk = [(title, picture[::reduce, ::reduce]) for title, picture in panels]
    missing = max(0, len(shrunk[0][1]) - _LEGEND)
    shrunk.append(("", np.pad(legend[: len(shrunk[0][1])], ((0, missing), (0, 0), (0, 0)), constant_values=255)))
    return side_by_side(shrunk)
