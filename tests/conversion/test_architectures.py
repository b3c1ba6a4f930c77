"""Networks that people use, with random weights; `python -m benchmarks compatibility` finds out more of them."""

from dataclasses import replace

import pytest
from torch import nn

from benchmarks.architectures import ARCHITECTURES, Architecture, check


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: f"{a.library} {a.name}")
def test_architecture(architecture: Architecture) -> None:
    values = check(architecture)
    assert values["converted"] > 0 and values["difference"] < 1e-10
    assert values["changes"] and values["trains"]


def test_programs() -> None:
    """Compiled for two sizes and exported: three layers of VGG-11, for the others are traced as these are."""
    (vgg,) = (a for a in ARCHITECTURES if a.name == "vgg11")

    def build() -> nn.Module:
        network = vgg.build()
        network.features = network.features[:8]
        network.classifier = nn.Linear(256 * 7 * 7, 10)
        return network

    values = check(replace(vgg, build=build), programs=True)
    assert values["converted"] == 3 and values["compile"] and values["export"]


def test_what_is_left_alone() -> None:
    """Among timm's are convolutions that pad in their own way."""
    (network,) = (a for a in ARCHITECTURES if a.name.startswith("tf_"))
    assert set(check(network)["left"]) == {"1x1 window", "Conv2dSame, not a plain Conv2d"}
