"""The equations of segmentation-aware networks as functions on tensors."""

from segaware.ops._backends import use_backend
from segaware.ops.convolution.op import segaware_conv2d
from segaware.ops.correlation.op import correlation
from segaware.ops.distance.op import embedding_distance
from segaware.ops.filtering.op import segaware_filter2d
from segaware.ops.mask import attention_mask
from segaware.ops.median.op import segaware_median2d
from segaware.ops.permutohedral.op import PermutohedralLattice, mean_field
from segaware.ops.upsampling.op import segaware_upsample

__all__ = [
    "PermutohedralLattice",
    "attention_mask",
    "correlation",
    "embedding_distance",
    "mean_field",
    "segaware_conv2d",
    "segaware_filter2d",
    "segaware_median2d",
    "segaware_upsample",
    "use_backend",
]
