"""The task of learning embeddings with their own loss."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn
from torch.utils.data import Dataset

from segaware.data import Sample
from segaware.experiments.tasks.networks import build_embedding, optimization
from segaware.experiments.tasks.scores import ImageScores
from segaware.experiments.tasks.segmentation.samples import open_images
from segaware.experiments.tasks.task import Task
from segaware.nn import PairLoss
from segaware.nn.bundled import BundledEmbedding
from segaware.recipes.segmentation import EmbeddingRecipe
from segaware.training import EmbeddingStage


class EmbeddingTask(Task[EmbeddingRecipe, ImageScores]):
    """Train an embedding network on labels of regions or objects; nothing is scored."""

    name = "embedding"
    recipe_type = EmbeddingRecipe

    def network(self, recipe: EmbeddingRecipe) -> nn.Module:
        """Return the untrained embedding network."""
        network = build_embedding(recipe.embedding)
        assert network is not None
        return network

    def samples(
        self, recipe: EmbeddingRecipe, split: Literal["train", "val"], data_root: Path | None
    ) -> Dataset[Sample]:
        """Return images with their labels."""
        return open_images(recipe.data, split, data_root)

    def stage(self, recipe: EmbeddingRecipe, network: nn.Module) -> EmbeddingStage:
        """Return the training with the pair loss."""
        assert isinstance(network, BundledEmbedding)
        return EmbeddingStage(network, PairLoss(**recipe.loss.model_dump()), optimization(recipe.train))
