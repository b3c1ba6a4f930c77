"""Modules that own parameters: layers, filter, loss and the embedding network."""

from segaware.nn.bilateral_filter import BilateralFilter2d, edge_filter
from segaware.nn.bundled import load_embedding
from segaware.nn.certainty_gate import certainty_gate
from segaware.nn.dense_crf import DenseCRF, dense_crf
from segaware.nn.embedding import ColorEmbedding, Embedding
from segaware.nn.embedding_net import EmbeddingNet, ReleasedEmbedding
from segaware.nn.end_point_loss import MultiscaleEndPointLoss
from segaware.nn.fast_embedding_net import FastEmbeddingNet
from segaware.nn.guided_filter import GuidedFilter
from segaware.nn.hardness import clamp_hardness
from segaware.nn.offset_losses import MaskLoss, OffsetPairLoss
from segaware.nn.pair_loss import PairLoss
from segaware.nn.parameter_groups import parameter_groups
from segaware.nn.pruning import prune_embedding
from segaware.nn.resampling import resample, upsample
from segaware.nn.segaware_conv import SegAwareConv2d
from segaware.nn.segaware_crf import SegAwareCRF
from segaware.nn.segaware_upsample import SegAwareUpsample
from segaware.nn.shared_distances import SharedDistances
from segaware.nn.vgg_weights import load_vgg_weights, read_vgg_weights

__all__ = [
    "BilateralFilter2d",
    "ColorEmbedding",
    "DenseCRF",
    "Embedding",
    "EmbeddingNet",
    "FastEmbeddingNet",
    "GuidedFilter",
    "MaskLoss",
    "MultiscaleEndPointLoss",
    "OffsetPairLoss",
    "PairLoss",
    "ReleasedEmbedding",
    "SegAwareCRF",
    "SegAwareConv2d",
    "SegAwareUpsample",
    "SharedDistances",
    "certainty_gate",
    "clamp_hardness",
    "dense_crf",
    "edge_filter",
    "load_embedding",
    "load_vgg_weights",
    "parameter_groups",
    "prune_embedding",
    "read_vgg_weights",
    "resample",
    "upsample",
]
