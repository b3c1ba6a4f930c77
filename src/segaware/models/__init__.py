"""Whole networks."""

from segaware.models.caffe_weights import CaffeReport, load_caffe
from segaware.models.caffemodel import read_caffemodel
from segaware.models.deeplab import DeepLab, DeepLabLargeFOV
from segaware.models.deeplab_v2 import DeepLabV2
from segaware.models.flownet import FlowNetS
from segaware.models.flownet_c import FlowNetC
from segaware.models.refinement import ScoreRefinement, Sharpener
from segaware.models.segaware_flownet import SegAwareFlowNetS
from segaware.models.variational import VariationalRefinement

__all__ = [
    "CaffeReport",
    "DeepLab",
    "DeepLabLargeFOV",
    "DeepLabV2",
    "FlowNetC",
    "FlowNetS",
    "ScoreRefinement",
    "SegAwareFlowNetS",
    "Sharpener",
    "VariationalRefinement",
    "load_caffe",
    "read_caffemodel",
]
