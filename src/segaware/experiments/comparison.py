"""Pictures of where one trained recipe predicts better than another, and where worse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segaware.data import Sample, dataset
from segaware.data.flow import FlowSample
from segaware.experiments.build import network_inputs, open_data
from segaware.experiments.evaluation import Scores
from segaware.experiments.flow_comparison import draw_flow_row, flow_gains
from segaware.experiments.flow_evaluation import FlowScores
from segaware.experiments.run import load_network
from segaware.experiments.trained import run_folder, weights_path
from segaware.metrics import mean_iou
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import EmbeddingRecipe, FlowRecipe, Recipe, SegmentationRecipe
from segaware.viz import colorize, embedding_colors, error_map, side_by_side
from segaware.viz.masks import draw_masks, points_inside

_POINTS, _REACH = 3, 16  # masks that are shown, and how far they reach, in pixels


def draw_comparison(
    names: tuple[str, str], recipes: tuple[Recipe, Recipe], runs: Path, root: Path | None, count: int, reduce: int = 1
) -> np.ndarray:
    """Draw the validation images on which the second recipe gains most over the first, then those where it loses most.

    Args:
        names: Names of two recipes that a table has scored on the same images.
        recipes: These recipes.
        runs: Folder that holds a folder per recipe.
        root: Folder that holds the data sets.
        count: How many images of each kind.
        reduce: Show every so many-th pixel.

    Returns:
        Picture, uint8 (H, W, 3): per image (of flow, the first of its pair) the photograph, the truth, what both
        predict, their errors, and the embedding of the second; below, masks of three pixels near the border of an
        object, if the second has a filter or CRF.

    Raises:
        RecipeError: If a recipe has no scores, they are of other images, or one recipe is of flow and the other not.
    """
    for name, recipe in zip(names, recipes, strict=True):
        if isinstance(recipe, EmbeddingRecipe):
            raise RecipeError(f"{name} trains embeddings, and predicts nothing to compare")
    if isinstance(recipes[0], FlowRecipe) != isinstance(recipes[1], FlowRecipe):
        raise RecipeError(f"{names[0]} and {names[1]} are of different stages: nothing to compare")
    gains = _gains([_scores(run_folder(runs, n), r) for n, r in zip(names, recipes, strict=True)])
    order = gains.argsort(descending=True, stable=True).tolist()
    chosen = [*order[:count], *order[-count:]]
    networks = [load_network(n, r, weights_path(runs, n))[0] for n, r in zip(names, recipes, strict=True)]
    images = open_data(recipes[1], "val", root, recipes[1].evaluation.images)
    rows = []
    for index in chosen:
        caption = f"{gains[index]:+.3f}"
        if isinstance(images[index], FlowSample):
            rows.append(draw_flow_row(images[index], [r.title for r in recipes], networks, caption, reduce))
        else:
            rows.append(_row(images[index], index, recipes, networks, caption, reduce))
    return _stack(rows)


def _stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures below one another on white."""
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures])


def _scores(folder: Path, recipe: Recipe) -> Scores | FlowScores:
    if not (folder / "scores.npz").is_file():
        raise RecipeError(f"{folder} holds no scores.npz; run `segaware table` first")
    return (FlowScores if isinstance(recipe, FlowRecipe) else Scores).load(folder / "scores.npz")


def _gains(scores: Sequence[Scores | FlowScores]) -> Tensor:
    """Return how much higher the second's mean IoU is on each image, or how much lower its end-point error."""
    first, second = scores
    if first.names != second.names:
        raise RecipeError("the two recipes were scored on different images")
    if isinstance(first, FlowScores) and isinstance(second, FlowScores):
        return flow_gains(first, second)
    assert isinstance(first, Scores) and isinstance(second, Scores)
    gains = mean_iou(second.confusion) - mean_iou(first.confusion)
    return gains.nan_to_num(0)  # an image that is void altogether


@torch.inference_mode()
def _row(
    sample: Sample, index: int, recipes: Sequence[Recipe], networks: Sequence[nn.Module], caption: str, reduce: int
) -> np.ndarray:
    image, label, name = sample
    assert isinstance(recipes[1], SegmentationRecipe)
    palette = dataset(recipes[1].data.name).palette
    truth = label.numpy()
    batch = Sample(image[None], label[None], name)
    predictions = []
    for recipe, network in zip(recipes, networks, strict=True):
        assert isinstance(recipe, SegmentationRecipe)
        predictions.append(network(*network_inputs(recipe, batch, index))[0].argmax(0).numpy())
    panels = [
        (name, (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()),
        ("truth", colorize(truth, palette)),
        *((recipe.title, colorize(p, palette)) for recipe, p in zip(recipes, predictions, strict=True)),
        *((f"errors, {kind}", error_map(p, truth)) for kind, p in zip(("first", caption), predictions, strict=True)),
    ]
    embed = getattr(networks[1], "embedding", None)
    if embed is None:
        return side_by_side([(title, picture[::reduce, ::reduce]) for title, picture in panels])
    embedding = embed(image[None])
    panels.append(("embedding (PCA)", embedding_colors(embedding[0])))
    row = side_by_side([(title, picture[::reduce, ::reduce]) for title, picture in panels])
    refinement = networks[1].get_submodule("refinement")
    points = points_inside(truth, _POINTS, _REACH)
    if not points or not (hardness := [h.item() for n, h in refinement.named_parameters() if n.endswith("hardness")]):
        return row
    masks = draw_masks(panels[0][1], points, {"mask": (embedding, hardness[0])}, _REACH, len(truth) // reduce)
    return _stack([row, masks])
