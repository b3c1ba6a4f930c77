"""Segmentation-aware convolutional networks in PyTorch (Harley, Derpanis, Kokkinos, ICCV 2017).

Learn an embedding per pixel, turn embedding distances into a local attention mask per window, and use the mask to
filter predictions, to convolve, and to drive a CRF.
"""

import logging

from segaware.conversion import Denormalize, convert, revert
from segaware.export import export_onnx
from segaware.nn import (
    BilateralFilter2d,
    DenseCRF,
    EmbeddingNet,
    PairLoss,
    SegAwareConv2d,
    SegAwareCRF,
    SharedDistances,
    dense_crf,
    load_embedding,
)
from segaware.ops import attention_mask, embedding_distance, segaware_conv2d, segaware_filter2d, use_backend
from segaware.refining import refine
from segaware.version import __version__ as __version__

logging.getLogger(__name__).addHandler(logging.NullHandler())  # silent unless the program listens

__all__ = [
    "BilateralFilter2d",
    "Denormalize",
    "DenseCRF",
    "EmbeddingNet",
    "PairLoss",
    "SegAwareCRF",
    "SegAwareConv2d",
    "SharedDistances",
    "attention_mask",
    "convert",
    "dense_crf",
    "embedding_distance",
    "export_onnx",
    "load_embedding",
    "refine",
    "revert",
    "segaware_conv2d",
    "segaware_filter2d",
    "use_backend",
]
