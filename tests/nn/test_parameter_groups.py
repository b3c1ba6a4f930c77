"""Which parameters of a network are in which group of an optimizer."""

from collections.abc import Callable

import pytest
from torch import nn

from segaware.models import DeepLabLargeFOV, DeepLabV2, ScoreRefinement, SegAwareFlowNetS, Sharpener
from segaware.nn import EmbeddingNet, SegAwareConv2d, parameter_groups


def _refinement() -> ScoreRefinement:
    return ScoreRefinement(3, filter_kernel_size=3, crf="segaware")


def _embedding() -> EmbeddingNet:
    return EmbeddingNet(0.0625, dim=2)


CRF = [f"refinement.crf.{name}" for name in (
    "hardness", "spatial_weight", "bilateral_weight", "compatibility", "log_spatial_bandwidth", "log_bandwidth"
)]  # fmt: skip
REFINEMENT = {"refinement.filter.hardness", *CRF}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, set[str]]]] = {
    "not ours": (lambda: nn.Sequential(SegAwareConv2d(3, 2, 3), nn.Conv2d(2, 2, 1)), {"hardness": {"0.hardness"}}),
    "plain": (lambda: DeepLabLargeFOV(3, 0.0625), {"head": {"fc8.weight", "fc8.bias"}}),
    "DeepLabLargeFOV": (
        lambda: DeepLabLargeFOV(3, 0.0625, segaware_layers="fc6", refinement=_refinement(), embedding=_embedding()),
        {"head": {"fc8.weight", "fc8.bias"}, "hardness": {"fc6.hardness"} | REFINEMENT},
    ),
    "DeepLabV2": (
        lambda: DeepLabV2(3, 0.0625, segaware_layers="aspp", refinement=_refinement(), embedding=_embedding()),
        {
            "head": {f"aspp.{i}.{kind}" for i in range(4) for kind in ("weight", "bias")},
            "hardness": {f"aspp.{i}.hardness" for i in range(4)} | REFINEMENT,
        },
    ),
    "Sharpener": (lambda: Sharpener(_refinement(), _embedding()), {"hardness": REFINEMENT}),
    "SegAwareFlowNetS": (
        lambda: SegAwareFlowNetS(0.0625, embedding=_embedding()),
        {"hardness": {"predict_flow2.hardness", "refinement.hardness"}},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_groups(name: str) -> None:
    make, wanted = NETWORKS[name]
    network = make()
    groups = parameter_groups(network)
    names = [key for key, _ in network.named_parameters()]
    embedding = {key for key in names if key.startswith("embedding.")}
    if embedding:
        wanted = wanted | {"embedding": embedding}
    rest = set(names).difference(*wanted.values())
    if rest:
        wanted = wanted | {"base": rest}
    assert {group: set(parameters) for group, parameters in groups.items()} == wanted
    assert list(groups) == [group for group in ("base", "head", "embedding", "hardness") if group in wanted]
    for parameters in groups.values():
        assert list(parameters) == [key for key in names if key in parameters]  # in the network's order
        assert all(parameter is network.get_parameter(key) for key, parameter in parameters.items())
