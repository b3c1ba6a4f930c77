"""From the values of a recipe to networks, data and stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from segaware.data import (
    COARSE_STRIDE,
    ColorJitter,
    Compose,
    RandomCrop,
    RandomFlip,
    RandomScale,
    Sample,
    build_dataset,
    coarse_scores,
    dataset_info,
)
from segaware.models import DeepLabLargeFOV, ScoreRefinement, Sharpener
from segaware.nn import ColorEmbedding, DenseCRF, EmbeddingNet, PairLoss
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Embedding, EmbeddingRecipe, Recipe, SegmentationRecipe, SharpeningRecipe
from segaware.training import EmbeddingStage, Optimization, SegmentationStage, SharpeningStage

_VALIDATION_SCENES = 64  # of the procedural data set; data sets on disk have their own number


def build_embedding(embedding: Embedding) -> EmbeddingNet | ColorEmbedding:
    """Return an untrained embedding network."""
    return EmbeddingNet(embedding.width, embedding.dim) if embedding.kind == "learned" else ColorEmbedding()


def build_network(recipe: Recipe) -> nn.Module:
    """Return the untrained network of a recipe, in the memory format that convolutions are fastest in.

    Raises:
        RecipeError: If the options of the network do not fit together.
    """
    try:
        return _network(recipe).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    except ValueError as error:
        raise RecipeError(f"recipe {recipe.title!r}: {error}") from error


def _network(recipe: Recipe) -> nn.Module:
    if isinstance(recipe, EmbeddingRecipe):
        if recipe.embedding.kind != "learned":
            raise ValueError("an embedding stage trains embedding.kind=learned")
        return build_embedding(recipe.embedding)
    embedding = None if recipe.embedding is None else build_embedding(recipe.embedding)
    options = recipe.model.model_dump(exclude={"dense_crf"})
    if recipe.model.dense_crf is not None:
        options["dense_crf"] = DenseCRF(**recipe.model.dense_crf.model_dump())
    if isinstance(recipe, SharpeningRecipe):
        return Sharpener(ScoreRefinement(num_classes(recipe), **options), embedding)
    return DeepLabLargeFOV(num_classes(recipe), **options, embedding=embedding)


def num_classes(recipe: SegmentationRecipe) -> int:
    """Return the number of classes of a recipe's data.

    Raises:
        RecipeError: If its labels are regions, not classes.
    """
    count = dataset_info(recipe.data.name).num_classes
    if count is None:
        raise RecipeError(
            f"data.name: {recipe.data.name} has regions and no classes, so no segmentation can be learned"
        )
    return count


def build_stage(recipe: Recipe, network: nn.Module) -> EmbeddingStage | SegmentationStage:
    """Return the training stage of a recipe around its network.

    Raises:
        RecipeError: If the recipe trains nothing.
    """
    train = recipe.train
    if train is None:
        raise RecipeError(f"recipe {recipe.title!r} trains nothing: its train is null")
    optimization = Optimization(
        train.optimizer,
        train.learning_rate,
        train.momentum,
        train.weight_decay,
        train.power,
        train.head_multiplier,
        train.embedding_multiplier,
        train.hardness_multiplier,
        train.frozen,
        train.drop_every,
    )
    if isinstance(recipe, EmbeddingRecipe):
        assert isinstance(network, EmbeddingNet)
        loss = recipe.loss
        pair_loss = PairLoss(loss.alpha, loss.beta, dilations=loss.dilations, average=loss.average, hinge=loss.hinge)
        return EmbeddingStage(network, pair_loss, optimization)
    stage = SharpeningStage if isinstance(recipe, SharpeningRecipe) else SegmentationStage
    return stage(network, num_classes(recipe), optimization, recipe.loss_at)


def network_inputs(recipe: SegmentationRecipe, sample: Sample, index: int) -> tuple[Any, ...]:
    """Return what a trained network is called with to predict a validation image.

    Args:
        recipe: The recipe.
        sample: A batch of one image.
        index: Its number; a sharpening's coarse scores have noise that depends on it alone.
    """
    if not isinstance(recipe, SharpeningRecipe):
        return (sample.image,)
    generator = torch.Generator().manual_seed(index)
    return sample.image, coarse_scores(sample.label, num_classes(recipe), generator=generator), COARSE_STRIDE


def open_data(
    recipe: Recipe, split: Literal["train", "val"], root: Path | None, limit: int | None = None
) -> Dataset[Sample]:
    """Return a recipe's images: varied at random for training, as they are for validation.

    Args:
        recipe: The recipe.
        split: Which images.
        root: Folder that holds the data sets.
        limit: How many of them to take, spread evenly over the split; None takes all.

    Raises:
        RecipeError: If a number of images is missing for scenes, or given for another data set.
        DataError: If files are missing.
    """
    data = recipe.data
    if (data.length is None) == (data.name == "scenes"):
        raise RecipeError(f"data.length: scenes need a number and other data null, got {data.length} for {data.name}")
    transform = None
    if split == "train":
        transform = Compose(
            [RandomScale(*data.scale), RandomCrop(*data.crop), RandomFlip(data.flip), ColorJitter(data.jitter)]
        )
    length = _VALIDATION_SCENES if split == "val" else data.length
    dataset = build_dataset(data.name, split, root, transform, length or 1, data.crop)
    total = len(dataset)  # type: ignore[arg-type]
    if limit is None or limit >= total:
        return dataset
    return Subset(dataset, [i * total // limit for i in range(limit)])


def training_batches(recipe: Recipe, root: Path | None) -> DataLoader[Sample]:
    """Return shuffled training batches."""
    return DataLoader(
        open_data(recipe, "train", root),
        recipe.data.batch_size,
        shuffle=True,
        num_workers=recipe.data.workers,
        drop_last=True,
        persistent_workers=recipe.data.workers > 0,
    )


def validation_batches(recipe: Recipe, root: Path | None, limit: int | None) -> DataLoader[Sample]:
    """Return validation images one by one, at their own size and in order."""
    return DataLoader(open_data(recipe, "val", root, limit), 1)
