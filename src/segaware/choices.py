"""Options that networks, training and recipes know by the same names; those of operators are in `segaware.ops`."""

from __future__ import annotations

from typing import Literal

Average = Literal["near_far", "pairs"]  # of the pair loss
Hinge = Literal["linear", "squared"]
Trunk = Literal["vgg16", "vgg19"]
SegAwareLayers = Literal["none", "fc6", "all"]  # of DeepLab-LargeFOV
SegAwareV2Layers = Literal["none", "aspp", "all"]  # of DeepLabV2
BatchNorm = Literal["frozen", "trained"]
StrideIn = Literal["1x1", "3x3"]  # which convolution of a ResNet's block has the stride
CRF = Literal["none", "segaware"]  # at the end of a network
LossAt = Literal["image", "scores"]
GivenScores = Literal["blurred", "predicted"]  # of a sharpening
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""Precision of training, in Lightning's names."""
