"""Training stages and the engine that runs them; the only room that imports Lightning."""

from segaware.training.batches import shuffled_batches
from segaware.training.checkpoints import find_checkpoint, usable_checkpoint
from segaware.training.devices import ONE_DEVICE, Devices, check_together, described, launched
from segaware.training.embedding_stage import EmbeddingStage, Sharpening, Teaching, masks_filter
from segaware.training.engine import Precision, fit, seed_everything
from segaware.training.flow_stage import FlowStage
from segaware.training.optimization import OPTIMIZERS, SCHEDULES, Optimization
from segaware.training.stages import (
    MultiscaleStage,
    RefinementStage,
    SegmentationStage,
    SharpeningStage,
    Stage,
)
from segaware.training.weights_file import load_weights, save_weights

__all__ = [
    "ONE_DEVICE",
    "OPTIMIZERS",
    "SCHEDULES",
    "Devices",
    "EmbeddingStage",
    "FlowStage",
    "MultiscaleStage",
    "Optimization",
    "Precision",
    "RefinementStage",
    "SegmentationStage",
    "Sharpening",
    "SharpeningStage",
    "Stage",
    "Teaching",
    "check_together",
    "described",
    "find_checkpoint",
    "fit",
    "launched",
    "load_weights",
    "masks_filter",
    "save_weights",
    "seed_everything",
    "shuffled_batches",
    "usable_checkpoint",
]
