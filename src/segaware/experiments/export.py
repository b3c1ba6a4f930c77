"""Taking trained networks out of a recipe's weights, for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from segaware.experiments.run import load_network
from segaware.experiments.tasks import task_of
from segaware.experiments.workspace import Workspace
from segaware.export import export_onnx
from segaware.nn.bundled import BundledEmbedding
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe
from segaware.training import save_weights

_EXAMPLE = (97, 129)  # height and width of the images that a network is traced with: all of FlowNet's layers see some


def export_network(name: str, recipe: Recipe, weights: Path, out: Path) -> float:
    """Write the trained network of a recipe as an ONNX file for images of any size, and return how far it differs.

    Args:
        name: Name of the recipe.
        recipe: The recipe.
        weights: Its trained weights.
        out: The .onnx file to write.

    Raises:
        RecipeError: If there are no weights, or the network needs more than images.
    """
    images = task_of(recipe).images
    if not images:
        raise RecipeError(f"{name} sharpens scores that it is given; export a network that computes its own")
    network, _ = load_network(name, recipe, weights)
    generator = torch.Generator().manual_seed(0)
    examples = torch.rand(images, 1, 3, *_EXAMPLE, generator=generator)
    difference = export_onnx(network, out, examples.unbind())
    assert difference is not None
    return difference


def export_embedding(
    name: str,
    recipe: Recipe,
    workspace: Workspace,
    out: Path,
    weights: Path | None = None,
    *,
    hardness: float = 1.0,
    colors: float = 1.0,
) -> dict[str, Any]:
    """Write the trained embedding network of a recipe in float16, for `segaware.nn.load_embedding`.

    Args:
        name: Name of the recipe: it trains embeddings, or a network that contains them.
        recipe: The recipe.
        workspace: Where its weights are.
        out: The .safetensors file to write.
        weights: The trained weights; the recipe's own in the workspace if not given.
        hardness: What hardness 1 is to mean with the file: its distances are multiplied by this.
        colors: Factor on the colours beside what was learned. A training through a narrow window makes them as large as
            near pixels want them, and they drown what was learned of those farther apart.

    Returns:
        What the file says of itself: recipe, values, steps, commit and command of the training, `hardness` and
        `colors`; and, if the recipe's own weights were scored, the scores.

    Raises:
        RecipeError: If there are no weights, no learned embedding network in them, or one that cannot be scaled so.
    """
    if recipe.embedding is None or recipe.embedding.type == "color":
        raise RecipeError(f"{name} has no learned embeddings to export")
    network, description = load_network(name, recipe, weights or workspace.weights(name))
    embedding = network if recipe.stage == "embedding" else network.get_submodule("embedding")
    task, scores = task_of(recipe), workspace.scores(name)
    if weights is None and task.scores_type is not None and scores.is_file():
        description |= task.summary(task.scores_type.load(scores))[0]
    if hardness != 1 or colors != 1:
        if not isinstance(embedding, BundledEmbedding):
            raise RecipeError(f"hardness and colors must be 1 for {name}, got {hardness:g} and {colors:g}")
        if colors != 1 and not embedding.colors:
            raise RecipeError(f"colors must be 1 for {name}, whose embeddings hold none, got {colors:g}")
        embedding.rescale(hardness, hardness * colors)
        description |= {"hardness": hardness, "colors": colors}
    save_weights(out, embedding.half(), description)
    return description
