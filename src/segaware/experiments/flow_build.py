"""From the values of a flow recipe to its network and its pairs of images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn
from torch.utils.data import Dataset

from segaware.data import Compose, dataset
from segaware.data.flow import (
    FlowColorJitter,
    FlowRandomAffine,
    FlowRandomCrop,
    FlowRandomFlip,
    FlowSample,
    FlowTransform,
)
from segaware.models import FlowNetC, FlowNetS, SegAwareFlowNetS, VariationalRefinement
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import FlowRecipe, FlowTrain
from segaware.training import Optimization

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
        return FlowNetC(model.width, model.batch_norm, variational=variational)
    if not is_segaware and embedding is None:
        return FlowNetS(model.width, model.batch_norm, variational=variational)
    options = model.model_dump(exclude={"network", "variational"})
    return SegAwareFlowNetS(**options, variational=variational, embedding=embedding)


def flow_optimization(train: FlowTrain) -> Optimization:
    """Return how a recipe is optimised: by Adam."""
    return Optimization(
        "adam",
        train.learning_rate,
        momentum=0,
        weight_decay=train.weight_decay,
        power=0,
        embedding_multiplier=train.embedding_multiplier,
        hardness_multiplier=train.hardness_multiplier,
        frozen=train.frozen,
        halve_at=train.halve_at,
    )


def open_pairs(recipe: FlowRecipe, split: Literal["train", "val"], root: Path | None) -> Dataset[FlowSample]:
    """Return a recipe's pairs of images: varied at random for training, as they are for validation.

    Raises:
        RecipeError: If a number or size of pairs is missing for generated ones, or given for another data set.
        DataError: If files are missing.
    """
    data, record = recipe.data, dataset(recipe.data.name, "flow")
    for key in ("length", "size"):
        if (getattr(data, key) is None) == record.is_generated:
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
        transform = Compose(parts)
    length = _VALIDATION_PAIRS if split == "val" and record.is_generated else data.length
    return record.open(split, root, transform, length, data.size)
