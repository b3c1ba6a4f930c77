"""FlowNetS, and what it shares with the other forms."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.models.flownet import FlowNetS

# FlowNetSimple: name, channels, kernel size, stride.
CONTRACTION = [
    *(("conv1", 64, 7, 2), ("conv2", 128, 5, 2), ("conv3", 256, 5, 2), ("conv3_1", 256, 3, 1)),
    *(("conv4", 512, 3, 2), ("conv4_1", 512, 3, 1), ("conv5", 512, 3, 2), ("conv5_1", 512, 3, 1)),
    *(("conv6", 1024, 3, 2), ("conv6_1", 1024, 3, 1)),
]
SKIPS = {5: "conv5_1", 4: "conv4_1", 3: "conv3_1", 2: "conv2"}
STRIDES = [4, 8, 16, 32, 64]
TINY = 1 / 64


@pytest.fixture
def images() -> Tensor:
    """Two batches of two images, of a size that is no multiple of anything."""
    return torch.rand(2, 2, 3, 65, 97, generator=torch.Generator().manual_seed(0))


def with_large_flow(network: FlowNetS) -> FlowNetS:
    """The network in eval mode, with prediction layers as after training."""
    for name, parameter in network.named_parameters():
        if name.startswith("predict_flow"):
            nn.init.normal_(parameter, std=0.1)
    return network.eval()


def test_layers() -> None:
    with torch.device("meta"):
        network = FlowNetS()
    layers = {name: m for name, m in network.named_children() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))}
    found = [(n, m.out_channels, m.kernel_size, m.stride) for n, m in layers.items() if n.startswith("conv")]
    assert found == [(name, width, (k, k), (s, s)) for name, width, k, s in CONTRACTION]
    assert {n: m.in_channels for n, m in layers.items() if n.startswith("predict_flow")} == {
        **{"predict_flow6": 1024, "predict_flow5": 512 + 512 + 2, "predict_flow4": 512 + 256 + 2},
        **{"predict_flow3": 256 + 128 + 2, "predict_flow2": 128 + 64 + 2},
    }
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    assert sum(sizes.values()) == 38_676_514
    # C. Pinard's port has no bias in the expansion; here its 4 deconvs, 5 predictions and 4 upsampled flows have one.
    assert sum(n for name, n in sizes.items() if name.startswith("conv") or "weight" in name) == 38_675_536
    assert 38_675_536 + (512 + 256 + 128 + 64) + 5 * 2 + 4 * 2 == 38_676_514
    half = FlowNetS(0.5)
    assert [half.get_submodule(name).out_channels for name, *_ in CONTRACTION] == [w // 2 for _, w, *_ in CONTRACTION]
    assert half.get_submodule("deconv5").out_channels == 256


def test_plain_network_layer_by_layer() -> None:
    network = with_large_flow(FlowNetS(0.125))
    image1, image2 = torch.rand(2, 2, 3, 64, 128)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    weights = network.state_dict()

    def apply(function: Any, name: str, x: Tensor, stride: int, padding: int) -> Tensor:
        return function(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=stride, padding=padding)

    x = torch.cat([(image1 - mean) / std, (image2 - mean) / std], dim=1)
    outputs = {}
    for name, _, kernel_size, stride in CONTRACTION:
        x = outputs[name] = F.leaky_relu(apply(F.conv2d, name, x, stride, kernel_size // 2), 0.1)
    expected = {64: apply(F.conv2d, "predict_flow6", x, 1, 1)}
    for level, skip in SKIPS.items():
        upsampled = apply(F.conv_transpose2d, f"upsampled_flow{level + 1}_to_{level}", expected[2 ** (level + 1)], 2, 1)
        deconv = F.leaky_relu(apply(F.conv_transpose2d, f"deconv{level}", x, 2, 1), 0.1)
        x = torch.cat([outputs[skip], deconv, upsampled], dim=1)
        expected[2**level] = apply(F.conv2d, f"predict_flow{level}", x, 1, 1)
    flows = network.forward_scales(image1, image2)
    assert list(flows) == STRIDES
    for stride, flow in flows.items():
        assert flow.std() > 0.1
        torch.testing.assert_close(flow, 20 * expected[stride], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (63, 64), (65, 97), (100, 30)])
@pytest.mark.parametrize("training", [False, True])
def test_sizes(size: tuple[int, int], training: bool) -> None:
    network = FlowNetS(TINY).train(training)
    images = torch.rand(2, 2, 3, *size)
    sizes = {stride: flow.shape for stride, flow in network.forward_scales(*images).items()}
    assert sizes == {s: (2, 2, -(-size[0] // s), -(-size[1] // s)) for s in STRIDES}
    assert list(sizes) == STRIDES
    assert network(*images).shape == (2, 2, *size)


def test_flow_is_the_finest_upsampled(images: Tensor) -> None:
    network = with_large_flow(FlowNetS(TINY))
    finest = network.forward_scales(*images)[4]
    expected = F.interpolate(finest, (65, 97), mode="bilinear", align_corners=True)  # exact at sizes 4n + 1
    torch.testing.assert_close(network(*images), expected)


def test_images_are_padded_at_the_bottom_and_the_right_with_their_last_pixels(images: Tensor) -> None:
    network = with_large_flow(FlowNetS(0.125))
    flows = network.forward_scales(*images)
    padded = network.forward_scales(*(F.pad(image, (0, 31, 0, 63), mode="replicate") for image in images))
    for stride in (8, 16, 32, 64):
        height, width = flows[stride].shape[-2:]
        torch.testing.assert_close(flows[stride], padded[stride][..., :height, :width])
    # The last layer sees nothing of what is cropped.
    torch.testing.assert_close(flows[4][..., :-1, :-1], padded[4][..., :16, :24])


@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradient_reaches_every_parameter(batch_norm: bool, images: Tensor) -> None:
    network = FlowNetS(0.125, batch_norm=batch_norm)
    torch.stack([flow.square().mean() for flow in network.forward_scales(*images).values()]).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_flow_starts_near_0(images: Tensor) -> None:
    for flow in FlowNetS(0.125).forward_scales(*images).values():
        assert 0 < flow.abs().max() < 5


def test_batch_norm_follows_every_convolution_of_the_contraction(images: Tensor) -> None:
    network = FlowNetS(TINY, batch_norm=True)
    names = [name for name, m in network.named_children() if isinstance(m, nn.BatchNorm2d)]
    assert names == [f"{name}_bn" for name, *_ in CONTRACTION]
    seen: dict[str, Tensor] = {}
    network.get_submodule("conv4_bn").register_forward_hook(lambda _, inputs, output: seen.update(bn=output))
    network.get_submodule("conv4_1").register_forward_pre_hook(lambda _, inputs: seen.update(conv=inputs[0]))
    network(*images)
    torch.testing.assert_close(seen["conv"], F.leaky_relu(seen["bn"], 0.1))


def test_learns_a_pair() -> None:
    torch.manual_seed(0)
    network = FlowNetS(0.125)
    image2 = F.interpolate(torch.rand(1, 3, 16, 16), (64, 64), mode="bilinear")
    image1, truth = image2.roll((-2, 3), dims=(2, 3)), torch.tensor([-3.0, 2.0]).view(1, 2, 1, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(30):
        loss = sum((flow - truth).norm(dim=1).mean() for flow in network.forward_scales(image1, image2).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert (network(image1, image2) - truth).norm(dim=1).mean() < 1.5


def test_copies_and_saved_weights_give_the_same_flow(images: Tensor) -> None:
    network = FlowNetS(TINY, batch_norm=True)
    network(*images)  # statistics of the normalisation
    network.eval()
    loaded = FlowNetS(TINY, batch_norm=True).eval()
    loaded.load_state_dict(network.state_dict())
    for other in (loaded, copy.deepcopy(network)):
        assert torch.equal(other(*images), network(*images))


def test_refinement_after_the_network_sees_flow_and_images(images: Tensor) -> None:
    class Refinement(nn.Module):
        def forward(self, flow: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
            assert torch.equal(image1, images[0]) and torch.equal(image2, images[1])
            return -flow

    network = with_large_flow(FlowNetS(TINY, variational=Refinement()))
    plain = FlowNetS(TINY).eval()
    plain.load_state_dict(network.state_dict())
    assert torch.equal(network(*images), -plain(*images))
    assert torch.equal(network.forward_scales(*images)[4], plain.forward_scales(*images)[4])


@pytest.mark.parametrize("width", [0.01, 0.0, -1.0])
def test_a_bad_width_is_named(width: float) -> None:
    with pytest.raises(ValueError, match=f"^width must leave at least one channel of 64, got {width}"):
        FlowNetS(width)


GOOD = torch.rand(2, 3, 16, 20)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ((GOOD[:, :1], GOOD), r"^image1 must be floating-point RGB of shape \(N, 3, H, W\), got .* \(2, 1, 16, 20\)"),
        ((GOOD[0], GOOD[0]), r"^image1 must be floating-point RGB .*got .* \(3, 16, 20\)"),
        ((GOOD, (255 * GOOD).byte()), r"^image2 must be floating-point RGB .*got torch.uint8"),
        ((GOOD, GOOD[..., 1:]), r"^image1 and image2 must .*\(2, 3, 16, 20\) and \(2, 3, 16, 19\)"),
        ((GOOD[:1], GOOD), r"^image1 and image2 must .*\(1, 3, 16, 20\) and \(2, 3, 16, 20\)"),
    ],
)
def test_bad_images_are_named(images: tuple[Tensor, Tensor], message: str) -> None:
    network = FlowNetS(TINY)
    for function in (network, network.forward_scales):
        with pytest.raises(ValueError, match=message):
            function(*images)
