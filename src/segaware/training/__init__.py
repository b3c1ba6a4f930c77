"""Training stages and the engine that runs them; the only room that imports Lightning."""

from segaware.training.batches import shuffled_batches
from segaware.training.checkpoints import find_checkpoint, usable_checkpoint
from segaware.training.engine import Precision, fit, seed_everything
from segaware.training.flow_stage import FlowStage
from segaware.training.optimization import OPTIMIZERS, SCHEDULES, Optimization
from segaware.training.stages import (
    EmbeddingStage,
    MultiscaleStage,
    RefinementStage,
    SegmentationStage,
    SharpeningStage,
    Stage,
)
from segaware.training.weights_file import load_weights, save_weights

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "EmbeddingStage",
    "FlowStage",
    "MultiscaleStage",
    "Optimization",
    "Precision",
    "RefinementStage",
    "SegmentationStage",
    "SharpeningStage",
    "Stage",
    "find_checkpoint",
    "fit",
    "load_weights",
    "save_weights",
    "seed_everything",
    "shuffled_batches",
    "usable_checkpoint",
]
