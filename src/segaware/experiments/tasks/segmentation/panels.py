"""Pictures of what two networks make of an image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from segaware.data import Sample
from segaware.experiments.tasks.panels import Panels, shrunk
from segaware.viz import colorize, embedding_colors, error_map, image_picture
from segaware.viz.masks import draw_masks, points_inside

_POINTS, _REACH = 3, 16  # masks that are shown, and how far they reach, in pixels


@torch.inference_mode()
def draw_images(
    sample: Sample,
    palette: np.ndarray,
    titles: Sequence[str],
    predictions: Sequence[np.ndarray],
    network: nn.Module,
    caption: str,
    reduce: int,
) -> Panels:
    """Draw an image, two predictions, their errors, and the embedding and masks of the network that made the second.

    Args:
        sample: The image with its labels.
        palette: Colours of the classes, uint8 RGB (256, 3).
        titles: Of the two predictions.
        predictions: Classes (H, W).
        network: On the CPU. Below, masks of three pixels near the border of an object are shown if it has a filter or
            a CRF.
        caption: What to say of the second's errors.
        reduce: Show every so many-th pixel.
    """
    picture, truth = image_picture(sample.image), sample.label.numpy()
    kinds = ("first", caption)
    embed = getattr(network, "embedding", None)
    embedding = None if embed is None else embed(sample.image[None])
    shrink = partial(shrunk, reduce=reduce)
    panels = Panels(
        [shrink(sample.name, picture), shrink("truth", colorize(truth, palette))],
        [shrink(title, colorize(p, palette)) for title, p in zip(titles, predictions, strict=True)],
        [shrink(f"errors, {kind}", error_map(p, truth)) for kind, p in zip(kinds, predictions, strict=True)],
        [] if embedding is None else [shrink("embedding (PCA)", embedding_colors(embedding[0]))],
    )
    if embedding is None:
        return panels
    refinement = network.get_submodule("refinement")
    points = points_inside(truth, _POINTS, _REACH)
    if not points or not (hardness := [h.item() for n, h in refinement.named_parameters() if n.endswith("hardness")]):
        return panels
    masks = {"mask": (embedding, hardness[0])}
    return panels._replace(masks=draw_masks(picture, points, masks, _REACH, len(truth) // reduce))
