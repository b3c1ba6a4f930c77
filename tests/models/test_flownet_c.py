"""FlowNetC."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.models.flownet import FlowNetS
from segaware.models.flownet_c import FlowNetC
from segaware.ops.correlation.op import correlation

TINY = 1 / 64


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 2, 3, 65, 97, generator=torch.Generator().manual_seed(0))


def test_layers() -> None:
    network, simple = FlowNetC(0.5), FlowNetS(0.5)
    differ = {"conv1": (32, 3, 7, 7), "conv_redir": (16, 128, 1, 1), "conv3_1": (128, 16 + 441, 3, 3)}
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters() if name.endswith(".weight")}
    expected = {name: tuple(p.shape) for name, p in simple.named_parameters() if name.endswith(".weight")}
    assert shapes == expected | {f"{name}.weight": shape for name, shape in differ.items()}
    with torch.device("meta"):
        assert sum(p.numel() for p in FlowNetC().parameters()) == 39_175_298  # NVIDIA's port says as many


@pytest.mark.parametrize("max_displacement", [20, 5])
def test_how_the_images_meet(max_displacement: int, images: Tensor) -> None:
    network = FlowNetC(0.125, max_displacement=max_displacement)
    seen: dict[str, list[Tensor]] = {name: [] for name in ("conv1", "conv3", "conv_redir", "conv3_1", "conv2")}
    for name, inputs in seen.items():
        network.get_submodule(name).register_forward_hook(
            lambda _, x, y, inputs=inputs: inputs.extend([x[0], F.leaky_relu(y, 0.1)])
        )
    skips: list[Tensor] = []
    network.get_submodule("predict_flow2").register_forward_pre_hook(lambda _, x: skips.append(x[0]))
    network(*images)
    features1, features2 = seen["conv3"][1], seen["conv3"][3]
    correlations = F.leaky_relu(correlation(features1, features2, max_displacement, stride=2), 0.1)
    torch.testing.assert_close(seen["conv3_1"][0], torch.cat([seen["conv_redir"][1], correlations], dim=1))
    assert seen["conv_redir"][0] is features1 or torch.equal(seen["conv_redir"][0], features1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    for image, seen_image in zip(images, seen["conv1"][::2], strict=True):
        torch.testing.assert_close(seen_image[..., :65, :97], (image - mean) / std)
    torch.testing.assert_close(skips[0][:, :16], seen["conv2"][1][..., :17, :25])  # those of the first image


@pytest.mark.parametrize("size", [(1, 1), (65, 97)])
def test_sizes(size: tuple[int, int]) -> None:
    network = FlowNetC(TINY)
    images = torch.rand(2, 2, 3, *size)
    sizes = {stride: flow.shape for stride, flow in network.forward_scales(*images).items()}
    assert sizes == {s: (2, 2, -(-size[0] // s), -(-size[1] // s)) for s in (4, 8, 16, 32, 64)}
    assert network(*images).shape == (2, 2, *size)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradient_reaches_every_parameter(batch_norm: bool, images: Tensor) -> None:
    network = FlowNetC(0.125, batch_norm=batch_norm)
    assert isinstance(getattr(network, "conv_redir_bn", None), nn.BatchNorm2d) == batch_norm
    torch.stack([flow.square().mean() for flow in network.forward_scales(*images).values()]).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_copies_and_saved_weights_give_the_same_flow(images: Tensor) -> None:
    network, loaded = FlowNetC(TINY, max_displacement=4), FlowNetC(TINY, max_displacement=4)
    loaded.load_state_dict(network.state_dict())
    for other in (loaded, copy.deepcopy(network)):
        assert torch.equal(other(*images), network(*images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.01}, "^width must leave at least one channel of 64, got 0.01"),
        ({"max_displacement": -1}, "^max_displacement must be an int of at least 0, got -1"),
        ({"max_displacement": 2.5}, "^max_displacement must be an int of at least 0, got 2.5"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowNetC(**options)
