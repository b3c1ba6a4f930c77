"""Layers can be printed where their parameters hold no numbers."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from segaware.models import DeepLabLargeFOV
from segaware.nn import BilateralFilter2d, ColorEmbedding, DenseCRF, SegAwareConv2d, SegAwareCRF, SegAwareUpsample

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "SegAwareConv2d": lambda: SegAwareConv2d(3, 4, 3),
    "BilateralFilter2d": lambda: BilateralFilter2d(3),
    "SegAwareUpsample": SegAwareUpsample,
    "SegAwareCRF": lambda: SegAwareCRF(3, 3),
    "DenseCRF": DenseCRF,
    "DeepLabLargeFOV": lambda: DeepLabLargeFOV(2, width=1 / 64, segaware_layers="fc6", embedding=ColorEmbedding()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_on_the_meta_device(name: str) -> None:
    layer = LAYERS[name]()
    number = repr(layer).count("hardness=")
    assert repr(layer.to("meta")).count("hardness=?") == number
    with torch.device("meta"):
        assert repr(LAYERS[name]()).count("hardness=?") == number


@pytest.mark.parametrize("name", LAYERS)
def test_of_fake_tensors(name: str) -> None:
    layer = LAYERS[name]()
    with FakeTensorMode():
        assert name in repr(layer) and name in repr(LAYERS[name]())
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert name in repr(layer)
