"""The kinds of recipes, by the stage that they name."""

from __future__ import annotations

from segaware.recipes.flow import FlowRecipe
from segaware.recipes.schema import Recipe
from segaware.recipes.segmentation import EmbeddingRecipe, MultiscaleRecipe, SegmentationRecipe, SharpeningRecipe

STAGES: dict[str, type[Recipe]] = {
    "embedding": EmbeddingRecipe,
    "segmentation": SegmentationRecipe,
    "multiscale": MultiscaleRecipe,
    "sharpening": SharpeningRecipe,
    "flow": FlowRecipe,
}


def register_stage(stage: str, recipe_type: type[Recipe]) -> None:
    """Make known what recipes of a stage say.

    Args:
        stage: The stage, as recipes name it.
        recipe_type: Their type.

    Raises:
        ValueError: If the stage is taken.
    """
    if stage in STAGES:
        raise ValueError(f"stage must be a new one, got {stage!r}; there are {', '.join(STAGES)}")
    STAGES[stage] = recipe_type
