"""From the values of a flow recipe to its network and its pairs of images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn
from torch.utils.data import Dataset

from segaware.data.flow import (
    FlowColorJitter,
    FlowCompose,
    FlowRandomAffine,
    FlowRandomCrop,
    FlowRandomFlip,
    FlowSample,
    FlowTransform,
    build_flow_dataset,
)
from segaware.models import FlowNetC, FlowNetS, SegAwareFlowNetS, VariationalRefinement
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import FlowRecipe

GENERATED = ("flying_shapes", "flying_voc")
_VALIDATION_PAIRS = 160  # of generated ones; data sets on disk have their own number


def flow_network(recipe: FlowRecipe, embedding: nn.Module | None) -> nn.Module:
    """Return the untrained network of a recipe.

    Raises:
        ValueError: If options do not fit together.
    """
    model = recipe.model
    variational = VariationalRefinement() if model.variational else None
    is_segaware = model.segaware_prediction or model.filter_kernel_size > 0
    if model.network == "flownetc":
        if is_segaware or embedding is not None:
            raise ValueError("model.network=flownetc has no segmentation-aware form; use flownets")
        return FlowNetC(model.width, batch_norm=model.batch_norm, variational=variational)
    if not is_segaware and embedding is None:
        return FlowNetS(model.width, batch_norm=model.batch_norm, variational=variational)
    options = model.model_dump(exclude={"network", "variational"})
    return SegAwareFlowNetS(**options, variational=variational, embedding=embedding)


def open_pairs(recipe: FlowRecipe, split: Literal["train", "val"], root: Path | None) -> Dataset[FlowSample]:
    """Return a recipe's pairs of images: varied at random for training, as they are for validation.

    Raises:
        RecipeError: If a number or size of pairs is missing for generated ones, or given for another data set.
        DataError: If files are missing.
    """
    data = recipe.data
    for key in ("length", "size"):
        if (getattr(data, key) is None) == (data.name in GENERATED):
            raise RecipeError(
                f"data.{key}: generated pairs need it and other data null, got {getattr(data, key)} for {data.name}"
            )
    transform = None
    if split == "train":
        parts: list[FlowTransform] = []
        if data.affine is not None:
            parts.append(FlowRandomAffine(**data.affine.model_dump()))
        parts += [FlowRandomCrop(*data.crop), FlowRandomFlip(*data.flip)]
        if data.color is not None:
            parts.append(FlowColorJitter(**data.color.model_dump()))
        transform = FlowCompose(parts)
    length = _VALIDATION_PAIRS if split == "val" else data.length
    return build_flow_dataset(data.name, split, root, transform, length or 1, data.size or (1, 1))
