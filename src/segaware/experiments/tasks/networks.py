"""Parts of networks and trainings that recipes of all tasks have."""

from __future__ import annotations

from functools import partial

from segaware.nn import ColorEmbedding, Embedding, EmbeddingNet, FastEmbeddingNet
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import EmbeddingOptions, Train
from segaware.training import OPTIMIZERS, SCHEDULES, Optimization

_EMBEDDINGS: dict[str, type[Embedding]] = {"fast": FastEmbeddingNet, "vgg": EmbeddingNet, "color": ColorEmbedding}


def build_embedding(embedding: EmbeddingOptions | None) -> Embedding | None:
    """Return an untrained embedding network, if there is one.

    Raises:
        RecipeError: If it is told the labels, which only networks that are made for it are.
    """
    if embedding is not None and embedding.type == "labels":
        raise RecipeError("embedding.type: labels is for the stages segmentation and multiscale alone")
    return None if embedding is None else _EMBEDDINGS[embedding.type](**embedding.model_dump(exclude={"type"}))


def optimization(train: Train) -> Optimization:
    """Return how a recipe is optimised."""
    optimizer, schedule = (section.model_dump(exclude={"type"}) for section in (train.optimizer, train.schedule))
    return Optimization(
        partial(OPTIMIZERS[train.optimizer.type], **optimizer),
        partial(SCHEDULES[train.schedule.type], **schedule),
        train.learning_rate,
        train.weight_decay,
        {group: getattr(train, f"{group}_multiplier") for group in ("head", "embedding", "hardness")},
        train.frozen,
    )
