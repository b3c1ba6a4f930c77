"""Parts of networks and trainings that recipes of all tasks have."""

from __future__ import annotations

from segaware.nn import ColorEmbedding, EmbeddingNet
from segaware.recipes.schema import Embedding, FlowTrain, Train
from segaware.training import Optimization


def build_embedding(embedding: Embedding) -> EmbeddingNet | ColorEmbedding:
    """Return an untrained embedding network."""
    return EmbeddingNet(embedding.width, embedding.dim) if embedding.kind == "learned" else ColorEmbedding()


def optimization(train: Train | FlowTrain) -> Optimization:
    """Return how a recipe is optimised."""
    if isinstance(train, FlowTrain):
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
    return Optimization(
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
