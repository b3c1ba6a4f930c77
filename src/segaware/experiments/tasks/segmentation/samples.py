"""Labelled images, as recipes vary them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch.utils.data import Dataset

from segaware.data import (
    ColorJitter,
    Compose,
    RandomCrop,
    RandomFlip,
    RandomScale,
    Sample,
    Transform,
    dataset,
)
from segaware.recipes.files import RecipeError
from segaware.recipes.segmentation import Data

_VALIDATION_SCENES = 64  # of the procedural data set; data sets on disk have their own number


def training_transform(data: Data, whole: bool = False) -> Transform:
    """Return how training images are varied at random; only scaled if they are to stay `whole`."""
    parts: list[Transform] = [RandomScale(*data.scale)]
    if not whole:
        parts += [RandomCrop(*data.crop), RandomFlip(data.flip), ColorJitter(data.jitter)]
    return Compose(parts)


def open_images(
    data: Data, split: Literal["train", "val"], data_root: Path | None, whole: bool = False
) -> Dataset[Sample]:
    """Return images with their labels: varied at random for training, as they are for validation.

    Args:
        data: What a recipe says of them.
        split: Which images.
        data_root: Folder that holds the data sets.
        whole: Whether training images are only scaled.

    Raises:
        RecipeError: If a number of images is missing for scenes, or given for another data set.
        DataError: If files are missing.
    """
    record = dataset(data.name)
    if (data.length is None) == record.is_generated:
        raise RecipeError(f"data.length: scenes need a number and other data null, got {data.length} for {data.name}")
    transform = training_transform(data, whole) if split == "train" else None
    if not record.is_generated:
        return record.open(split, data_root, transform)
    return record.open(split, data_root, transform, _VALIDATION_SCENES if split == "val" else data.length, data.crop)
