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
    Transform,
    coarse_scores,
    dataset,
)
from segaware.data.flow import FlowSample
from segaware.experiments.flow_build import flow_network, flow_optimization, open_pairs
from segaware.models import DeepLab, DeepLabLargeFOV, DeepLabV2, ScoreRefinement, Sharpener
from segaware.nn import ColorEmbedding, DenseCRF, EmbeddingNet, PairLoss
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import (
    Embedding,
    EmbeddingRecipe,
    FlowRecipe,
    MultiscaleRecipe,
    Recipe,
    RefinementV2,
    SegmentationRecipe,
    SharpeningRecipe,
)
from segaware.training import (
    EmbeddingStage,
    FlowStage,
    MultiscaleStage,
    Optimization,
    RefinementStage,
    SegmentationStage,
    SharpeningStage,
    Stage,
)

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
    if isinstance(recipe, FlowRecipe):
        return flow_network(recipe, embedding)
    options = recipe.model.model_dump(exclude={"dense_crf"})
    if recipe.model.dense_crf is not None:
        options["dense_crf"] = DenseCRF(**recipe.model.dense_crf.model_dump())
    if isinstance(recipe, SharpeningRecipe):
        return Sharpener(ScoreRefinement(num_classes(recipe), **options), embedding)
    if isinstance(recipe, MultiscaleRecipe):
        own = {key: options.pop(key, None) for key in RefinementV2.model_fields}
        refinement = ScoreRefinement(num_classes(recipe), **own)
        return DeepLabV2(num_classes(recipe), **options, refinement=refinement, embedding=embedding)
    return DeepLabLargeFOV(num_classes(recipe), **options, embedding=embedding)


def num_classes(recipe: SegmentationRecipe) -> int:
    """Return the number of classes of a recipe's data.

    Raises:
        RecipeError: If its labels are regions, not classes.
    """
    count = dataset(recipe.data.name).num_classes
    if count is None:
        raise RecipeError(
            f"data.name: {recipe.data.name} has regions and no classes, so no segmentation can be learned"
        )
    return count


def build_stage(recipe: Recipe, network: nn.Module) -> Stage:
    """Return the training stage of a recipe around its network.

    Raises:
        RecipeError: If the recipe trains nothing.
    """
    if recipe.train is None:
        raise RecipeError(f"recipe {recipe.title!r} trains nothing: its train is null")
    if isinstance(recipe, FlowRecipe):
        return FlowStage(network, flow_optimization(recipe.train))
    train = recipe.train
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
    if trains_on_cached_scores(recipe):
        assert isinstance(network, DeepLab)
        stride = network.output_stride
        return RefinementStage(sharpener(network), num_classes(recipe), optimization, recipe.loss_at, stride)
    stages = {"sharpening": SharpeningStage, "multiscale": MultiscaleStage, "segmentation": SegmentationStage}
    return stages[recipe.stage](network, num_classes(recipe), optimization, recipe.loss_at)


def trains_on_cached_scores(recipe: Recipe) -> bool:
    """Tell whether a recipe trains on cached scores.

    Raises:
        RecipeError: If other values of the recipe do not fit that.
    """
    if not isinstance(recipe, SegmentationRecipe) or recipe.train_on == "images" or recipe.train is None:
        return False
    stride, data = DeepLab.output_stride, recipe.data
    wanted = {
        "start.model: a network to compute the scores": recipe.start.model is not None,
        "a stage of segmentation": not isinstance(recipe, SharpeningRecipe),
        "one data.scale and no data.jitter, as scores are computed once": data.scale[0] == data.scale[1]
        and data.jitter == 0,
        f"data.crop of sides {stride} * n + 1, whose mirror images have scores at the same places": all(
            side % stride == 1 for side in data.crop
        ),
    }
    for what, given in wanted.items():
        if not given:
            raise RecipeError(f"recipe {recipe.title!r}: train_on=cached_scores wants {what}")
    return True


def sharpener(network: DeepLab) -> Sharpener:
    """Return what refines the scores of a network, its embedding included."""
    return Sharpener(network.refinement, network.embedding if network.refinement.needs_embedding else None)


def network_inputs(recipe: Recipe, sample: Sample | FlowSample, index: int) -> tuple[Any, ...]:
    """Return what a trained network is called with to predict a validation image.

    Args:
        recipe: The recipe, of a segmentation or of flow.
        sample: A batch of one image, or of one pair of images.
        index: Its number; a sharpening's coarse scores have noise that depends on it alone.
    """
    if isinstance(sample, FlowSample):
        return sample.image1, sample.image2
    if not isinstance(recipe, SharpeningRecipe):
        return (sample.image,)
    generator = torch.Generator().manual_seed(index)
    return sample.image, coarse_scores(sample.label, num_classes(recipe), generator=generator), COARSE_STRIDE


def open_data(
    recipe: Recipe, split: Literal["train", "val"], root: Path | None, limit: int | None = None
) -> Dataset[Any]:
    """Return a recipe's images, or pairs of images: varied at random for training, as they are for validation.

    Args:
        recipe: The recipe.
        split: Which images.
        root: Folder that holds the data sets.
        limit: How many of them to take, spread evenly over the split; None takes all.

    Raises:
        RecipeError: If a number of images is missing for scenes, or given for another data set.
        DataError: If files are missing.
    """
    dataset = open_pairs(recipe, split, root) if isinstance(recipe, FlowRecipe) else _open_images(recipe, split, root)
    total = len(dataset)  # type: ignore[arg-type]
    if limit is None or limit >= total:
        return dataset
    return Subset(dataset, [i * total // limit for i in range(limit)])


def _open_images(
    recipe: EmbeddingRecipe | SegmentationRecipe, split: Literal["train", "val"], root: Path | None
) -> Dataset[Sample]:
    data, record = recipe.data, dataset(recipe.data.name)
    if (data.length is None) == record.is_generated:
        raise RecipeError(f"data.length: scenes need a number and other data null, got {data.length} for {data.name}")
    transform = None
    if split == "train":
        parts: list[Transform] = [RandomScale(*data.scale)]
        if not trains_on_cached_scores(recipe):  # which are cut out of whole images, with their scores
            parts += [RandomCrop(*data.crop), RandomFlip(data.flip), ColorJitter(data.jitter)]
        transform = Compose(parts)
    if not record.is_generated:
        return record.open(split, root, transform)
    return record.open(split, root, transform, _VALIDATION_SCENES if split == "val" else data.length, data.crop)


def validation_batches(recipe: Recipe, root: Path | None, limit: int | None) -> DataLoader[Any]:
    """Return validation images or pairs one by one, at their own size and in order."""
    return DataLoader(open_data(recipe, "val", root, limit), 1)
