"""The task of learning embeddings with their own loss."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn
from torch.utils.data import Dataset

from segaware.data import Mixture, Sample, dataset
from segaware.experiments.tasks.networks import optimization
from segaware.experiments.tasks.scores import ImageScores
from segaware.experiments.tasks.segmentation.samples import open_images, training_transform
from segaware.experiments.tasks.task import Task
from segaware.nn import EmbeddingNet, PairLoss
from segaware.recipes.files import RecipeError
from segaware.recipes.segmentation import EmbeddingRecipe
from segaware.training import EmbeddingStage


class EmbeddingTask(Task[EmbeddingRecipe, ImageScores]):
    """Train an `EmbeddingNet` on labels of regions or objects; nothing is scored."""

    name = "embedding"
    recipe_type = EmbeddingRecipe

    def network(self, recipe: EmbeddingRecipe) -> nn.Module:
        """Return the untrained embedding network."""
        if recipe.embedding.kind != "learned":
            raise ValueError("an embedding stage trains embedding.kind=learned")
        return EmbeddingNet(recipe.embedding.width, recipe.embedding.dim)

    def samples(
        self, recipe: EmbeddingRecipe, split: Literal["train", "val"], data_root: Path | None
    ) -> Dataset[Sample]:
        """Return images with their labels, in training of the mixture if there is one."""
        data = recipe.data
        if data.mixture is None:
            return open_images(data, split, data_root)
        if data.length is None:
            raise RecipeError("data.length: a mixture needs the number of samples of an epoch, got null")
        if split == "train":
            return Mixture(data.mixture, data_root, data.length, training_transform(data))
        generates = dataset(data.name).is_generated
        return open_images(data if generates else data.model_copy(update={"length": None}), split, data_root)

    def stage(self, recipe: EmbeddingRecipe, network: nn.Module) -> EmbeddingStage:
        """Return the training with the pair loss."""
        assert isinstance(network, EmbeddingNet)
        return EmbeddingStage(network, PairLoss(**recipe.loss.model_dump()), optimization(recipe.train))
