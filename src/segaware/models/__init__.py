"""Whole networks."""

from segaware.models.deeplab import DeepLabLargeFOV
from segaware.models.refinement import ScoreRefinement, Sharpener

__all__ = ["DeepLabLargeFOV", "ScoreRefinement", "Sharpener"]
