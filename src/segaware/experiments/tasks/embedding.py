"""The task of learning embeddings with their own loss."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn
from torch.utils.data import Dataset

from segaware import ranks
from segaware.data import Mixture, PredictedSample, Sample, dataset
from segaware.experiments.tasks.networks import build_embedding, optimization
from segaware.experiments.tasks.scores import ImageScores
from segaware.experiments.tasks.segmentation.samples import open_images, training_transform
from segaware.experiments.tasks.task import Task
from segaware.nn import MaskLoss, OffsetPairLoss, PairLoss, load_embedding
from segaware.nn.bundled import BundledEmbedding
from segaware.recipes.files import RecipeError
from segaware.recipes.segmentation import EmbeddingRecipe
from segaware.training import EmbeddingStage, Sharpening, Teaching, masks_filter


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
    ) -> Dataset[Sample] | Dataset[Sample | PredictedSample]:
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
        """Return the training with the losses of the recipe."""
        assert isinstance(network, BundledEmbedding)
        options = recipe.loss.model_dump(exclude={"type", "weight"})
        loss = PairLoss(**options) if recipe.loss.type == "windows" else OffsetPairLoss(**options)
        teacher, masks = recipe.teacher, recipe.masks
        if teacher is not None and teacher.images % ranks.world_size():
            raise RecipeError(
                f"teacher.images={teacher.images} is not a multiple of the {ranks.world_size()} processes that share it"
            )
        return EmbeddingStage(
            network,
            loss,
            optimization(recipe.train),
            recipe.loss.weight,
            None
            if teacher is None
            else Teaching(
                load_embedding(teacher.network),
                MaskLoss(teacher.radius, teacher.count),
                teacher.weight,
                teacher.images,
            ),
            None
            if masks is None
            else Sharpening(masks_filter(masks.kernel_size, masks.iterations), masks.weight, masks.count, masks.crop),
        )
