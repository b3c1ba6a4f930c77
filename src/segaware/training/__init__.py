"""Training stages and the engine that runs them; the only room that imports Lightning."""

from segaware.training.engine import find_checkpoint, fit
from segaware.training.optimization import Optimization
from segaware.training.stages import EmbeddingStage, SegmentationStage, SharpeningStage
from segaware.training.weights_file import load_weights, save_weights

__all__ = [
    "EmbeddingStage",
    "Optimization",
    "SegmentationStage",
    "SharpeningStage",
    "find_checkpoint",
    "fit",
    "load_weights",
    "save_weights",
]
