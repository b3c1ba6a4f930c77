"""SegAwareFlowNetS: what it adds to FlowNetS."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segaware.models.flownet import FlowNetS
from segaware.models.segaware_flownet import SegAwareFlowNetS
from segaware.nn import BilateralFilter2d, ColorEmbedding, EmbeddingNet, SegAwareConv2d, upsample


@pytest.fixture
def images() -> Tensor:
    """Two batches of two images, of a size that is no multiple of anything."""
    return torch.rand(2, 2, 3, 65, 97, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def plain() -> FlowNetS:
    """A network whose flow is as after training."""
    network = FlowNetS(0.125).eval()
    nn.init.normal_(network.predict_flow2.weight, std=0.1)
    return network


def segaware(plain: FlowNetS, **options: Any) -> SegAwareFlowNetS:
    """The network with these options and the weights of the plain one."""
    network = SegAwareFlowNetS(0.125, **{"embedding": ColorEmbedding(), **options}).eval()
    network.load_state_dict(plain.state_dict(), strict=False)
    return network


def test_names(plain: FlowNetS) -> None:
    """Learning rates go by these names, and so do weights."""
    network = SegAwareFlowNetS(0.125, embedding=EmbeddingNet(0.125, 8), hardness=0.5, filter_hardness=0.25)
    names = dict(network.named_parameters())
    new = {name for name in names if not name.startswith("embedding.")} - set(dict(plain.named_parameters()))
    assert new == {"predict_flow2.hardness", "refinement.hardness"}
    assert (names["predict_flow2.hardness"], names["refinement.hardness"]) == (0.5, 0.25)
    result = network.load_state_dict(plain.state_dict(), strict=False)
    assert result.unexpected_keys == []
    missing = {name for name in result.missing_keys if not name.startswith("embedding.")}
    assert missing == {"refinement.hardness"}
    assert names["predict_flow2.hardness"] == 0.5
    assert plain.load_state_dict(network.state_dict(), strict=False).missing_keys == []


def test_at_hardness_0_and_without_filter_it_is_the_plain_network(plain: FlowNetS, images: Tensor) -> None:
    network = segaware(plain, filter_kernel_size=0)
    assert isinstance(network.predict_flow2, SegAwareConv2d) and network.refinement is None
    expected = plain.forward_scales(*images)
    assert expected[4].std() > 1
    flows = network.forward_scales(*images)
    assert list(flows) == list(expected)
    for stride, flow in flows.items():
        torch.testing.assert_close(flow, expected[stride], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network(*images), plain(*images), rtol=1e-4, atol=1e-4)
    neither = segaware(plain, segaware_prediction=False, filter_kernel_size=0, embedding=None)
    assert torch.equal(neither(*images), plain(*images))


def test_prediction_is_that_of_a_segmentation_aware_layer_on_every_fourth_embedding(
    plain: FlowNetS, images: Tensor
) -> None:
    network = segaware(plain, filter_kernel_size=0, hardness=0.5, normalize="none")
    assert network.predict_flow2.normalize == "none"
    features: list[Tensor] = []
    plain.predict_flow2.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    expected = plain.forward_scales(*images)
    flows = network.forward_scales(*images)
    assert (flows[4] - expected[4]).abs().max() > 0.5
    embedding = ColorEmbedding()(images[0])[:, :, ::4, ::4]
    torch.testing.assert_close(flows[4], 20 * network.predict_flow2(features[0], embedding))
    assert all(torch.equal(flows[stride], expected[stride]) for stride in (8, 16, 32, 64))


@pytest.mark.parametrize("filter_stride", [4, 2, 1])
def test_filter_at_its_stride(filter_stride: int, plain: FlowNetS, images: Tensor) -> None:
    options = {"filter_kernel_size": 5, "filter_iterations": 2, "filter_hardness": 0.5}
    network = segaware(plain, segaware_prediction=False, filter_stride=filter_stride, **options)
    expected = plain.forward_scales(*images)
    size = (-(-65 // filter_stride), -(-97 // filter_stride))
    embedding = ColorEmbedding()(images[0])[:, :, ::filter_stride, ::filter_stride]
    reference = BilateralFilter2d(5, iterations=2, hardness=0.5)
    filtered = reference(upsample(expected[4], 4 // filter_stride, size), embedding)

    flows = network.forward_scales(*images)
    assert list(flows) == sorted({filter_stride, 4, 8, 16, 32, 64})
    torch.testing.assert_close(flows[filter_stride], filtered)
    assert all(torch.equal(flows[stride], expected[stride]) for stride in flows if stride != filter_stride)
    torch.testing.assert_close(network(*images), upsample(filtered, filter_stride, (65, 97)))
    assert (network(*images) - plain(*images)).abs().max() > 0.5


def test_flow_starts_near_0(images: Tensor) -> None:
    torch.manual_seed(0)
    flow = SegAwareFlowNetS(0.125, hardness=0.5, filter_stride=4, embedding=ColorEmbedding()).forward_scales(*images)[4]
    assert 0 < flow.std() < 5


def test_the_first_image_is_embedded_once(images: Tensor) -> None:
    embedding, seen = ColorEmbedding(), []
    embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    SegAwareFlowNetS(1 / 64, embedding=embedding)(*images)
    assert len(seen) == 1 and torch.equal(seen[0], images[0])


@pytest.mark.parametrize("size", [(1, 1), (63, 64), (66, 35)])
@pytest.mark.parametrize("filter_stride", [4, 2, 1])
def test_sizes(size: tuple[int, int], filter_stride: int) -> None:
    network = SegAwareFlowNetS(1 / 64, filter_stride=filter_stride, embedding=ColorEmbedding())
    images = torch.rand(2, 2, 3, *size)
    for stride, flow in network.forward_scales(*images).items():
        assert flow.shape == (2, 2, -(-size[0] // stride), -(-size[1] // stride))
    assert network(*images).shape == (2, 2, *size)


def test_gradient_reaches_every_parameter(images: Tensor) -> None:
    network = SegAwareFlowNetS(0.125, batch_norm=True, hardness=0.5, embedding=EmbeddingNet(0.125, 8))
    torch.stack([(flow - 1).square().mean() for flow in network.forward_scales(*images).values()]).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_copies_and_saved_weights_give_the_same_flow(images: Tensor) -> None:
    network, loaded = (
        SegAwareFlowNetS(1 / 64, hardness=hardness, embedding=EmbeddingNet(0.125, 8)) for hardness in (0.5, 0.0)
    )
    loaded.load_state_dict(network.state_dict())
    for other in (loaded, copy.deepcopy(network)):
        assert torch.equal(other(*images), network(*images))


COLOR = ColorEmbedding()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "^embedding is needed with segaware_prediction=True and filter_kernel_size=9, but none was given"),
        (
            {"segaware_prediction": False},
            "^embedding is needed with segaware_prediction=False and filter_kernel_size=9",
        ),
        ({"filter_kernel_size": 0}, "^embedding is needed with segaware_prediction=True and filter_kernel_size=0"),
        (
            {"segaware_prediction": False, "filter_kernel_size": 0, "embedding": COLOR},
            "^embedding is not used with segaware_prediction=False and filter_kernel_size=0, but one was given",
        ),
        *(({"filter_stride": s, "embedding": COLOR}, f"^filter_stride must divide 4, got {s}") for s in (0, 3, 8, -2)),
        ({"filter_kernel_size": -1, "embedding": COLOR}, "^kernel_size must be .*got -1"),
        ({"filter_iterations": 0, "embedding": COLOR}, "^iterations must be"),
        ({"hardness": -1.0, "embedding": COLOR}, "^hardness must be .*got -1.0"),
        ({"normalize": "max", "embedding": COLOR}, "^normalize must be one of .*got 'max'"),
        ({"width": 0.01, "embedding": COLOR}, "^width must leave at least one channel of 64, got 0.01"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegAwareFlowNetS(**{"width": 0.125, **options})


def test_bad_images_are_named_before_they_are_embedded(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^image1 and image2 must have the same shape"):
        SegAwareFlowNetS(1 / 64, embedding=EmbeddingNet(0.125, 8))(images[0], images[1, ..., 1:])
