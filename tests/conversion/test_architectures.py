"""Networks that people use, with random weights; `python -m benchmarks compatibility` finds out more of them."""

import pytest

from benchmarks.architectures import ARCHITECTURES, Architecture, check

PROGRAMS = ("vgg11",)  # to be compiled and exported here


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: f"{a.library} {a.name}")
def test_architecture(architecture: Architecture) -> None:
    values = check(architecture, programs=architecture.name in PROGRAMS)
    assert values["converted"] > 0 and values["difference"] < 1e-10
    assert values["changes"] and values["trains"]
    assert values.get("compile", True) and values.get("export", True)


def test_what_is_left_alone() -> None:
    """Among timm's are convolutions that pad in their own way."""
    (network,) = (a for a in ARCHITECTURES if a.name.startswith("tf_"))
    assert set(check(network)["left"]) == {"1x1 window", "Conv2dSame, not a plain Conv2d"}
