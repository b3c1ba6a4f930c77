"""EmbeddingNet and ColorEmbedding."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from segaware.data import photograph, read_image
from segaware.nn import ColorEmbedding, EmbeddingNet
from segaware.training import save_weights

CONVOLUTIONS = ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"]


def patches(count: int = 2, size: int = 48) -> Tensor:
    """Images of coloured squares with some noise."""
    squares = F.interpolate(torch.rand(count, 3, size // 8, size // 8), scale_factor=8)
    return 0.9 * squares + 0.1 * torch.rand(count, 3, size, size)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 7), (6, 8), (33, 48)])
def test_one_embedding_per_pixel_and_scales_at_strides_1_2_4(size: tuple[int, int]) -> None:
    net, image = EmbeddingNet(width=0.125, dim=5), torch.rand(2, 3, *size)
    fused, scales = net.forward_scales(image)
    assert fused.shape == (2, 5, *size)
    assert [s.shape for s in scales] == [image[:, :1, ::s, ::s].expand(-1, 5, -1, -1).shape for s in (1, 2, 4)]
    assert torch.equal(net(image), fused)


def test_layers_are_those_of_vgg() -> None:
    convolutions = {n: m for n, m in EmbeddingNet(dim=16).named_children() if isinstance(m, nn.Conv2d)}
    assert [n for n, m in convolutions.items() if m.kernel_size == (3, 3)] == CONVOLUTIONS
    assert [convolutions[n].in_channels for n in CONVOLUTIONS] == [3, 64, 64, 128, 128, 256, 256]
    assert [convolutions[n].out_channels for n in CONVOLUTIONS] == [64, 64, 128, 128, 256, 256, 256]
    assert {convolutions[n].padding for n in CONVOLUTIONS} == {(1, 1)}
    others = {
        n: (m.kernel_size, m.in_channels, m.out_channels) for n, m in convolutions.items() if n not in CONVOLUTIONS
    }
    point = (1, 1)
    assert others == {
        "head1": (point, 64, 16),
        "head2": (point, 128, 16),
        "head3": (point, 256, 16),
        "fuse": (point, 48, 16),
    }


def test_scales_are_heads_on_the_blocks_of_vgg() -> None:
    net, image = EmbeddingNet(width=0.125, dim=5), torch.rand(1, 3, 21, 26)
    net.feature_rms.copy_(torch.tensor([0.5, 2.0, 4.0]))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (image - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    weights = net.state_dict()
    expected = []
    for block, count in enumerate((2, 2, 3), start=1):
        x = x if block == 1 else F.max_pool2d(x, 3, stride=2, padding=1)
        for name in (f"conv{block}_{i}" for i in range(1, count + 1)):
            x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).relu()
        head = weights[f"head{block}.weight"], weights[f"head{block}.bias"]
        expected.append(F.conv2d(x / (0.5, 2.0, 4.0)[block - 1], *head))
    for scale, expected_scale in zip(net.forward_scales(image)[1], expected, strict=True):
        torch.testing.assert_close(scale, expected_scale)


def test_fusion_is_a_1x1_convolution_of_the_three_scales_in_place() -> None:
    net = EmbeddingNet(width=0.125, dim=5)
    nn.init.normal_(net.fuse.bias)
    fused, (first, second, third) = net.forward_scales(torch.rand(1, 3, 21, 26))

    def fuse(*scales: Tensor) -> Tensor:
        weight, bias = net.fuse.weight.reshape(5, 15), net.fuse.bias.view(5, 1, 1)
        return torch.einsum("fc,nchw->nfhw", weight, torch.cat(scales, dim=1)) + bias

    torch.testing.assert_close(fused[..., ::4, ::4], fuse(first[..., ::4, ::4], second[..., ::2, ::2], third))
    # Rows 2, 6, ... lie half-way between two of the coarsest scale.
    halfway = (third[..., :-1, :] + third[..., 1:, :]) / 2
    expected = fuse(first[..., 2:20:4, ::4], second[..., 1:10:2, ::2], halfway)
    torch.testing.assert_close(fused[..., 2:20:4, ::4], expected)


@pytest.mark.parametrize("dim", [8, 16, 64])
@pytest.mark.parametrize("width", [0.125, 0.5])
def test_unrelated_pixels_start_at_a_distance_the_loss_can_work_with(dim: int, width: float) -> None:
    net, image = EmbeddingNet(width, dim), patches()
    for name in CONVOLUTIONS:  # features as large as VGG's
        net.get_submodule(name).weight.data *= 2
    net.calibrate(image)
    fused, scales = net.forward_scales(image)
    for embedding in (fused, *scales):
        pixels = embedding.flatten(2)
        unrelated = pixels[..., torch.randperm(pixels.shape[-1])]
        assert 0.5 < (pixels - unrelated).abs().sum(1).mean() < 3


def test_calibration_makes_features_of_size_1_and_is_saved() -> None:
    net, image, sizes = EmbeddingNet(width=0.125, dim=8), patches(), {}

    def record(name: str) -> Any:
        return lambda _, inputs: sizes.__setitem__(name, inputs[0].square().mean().sqrt().item())

    for name in ("head1", "head2", "head3"):
        net.get_submodule(name).register_forward_pre_hook(record(name))
    net(image)
    assert max(abs(size - 1) for size in sizes.values()) > 0.1
    for _ in range(2):  # the second time changes nothing
        net.calibrate(image)
        net(image)
        assert sizes == pytest.approx(dict.fromkeys(("head1", "head2", "head3"), 1.0), rel=1e-4)
    other = EmbeddingNet(width=0.125, dim=8)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(image), net(image))
    assert not net.feature_rms.requires_grad


def test_calibration_on_bad_images_changes_nothing() -> None:
    net = EmbeddingNet(width=0.125, dim=8)
    net.calibrate(patches())
    before = net.feature_rms.clone()
    with pytest.raises(ValueError, match=r"^image must be "):
        net.calibrate(torch.rand(1, 4, 8, 8))
    assert torch.equal(net.feature_rms, before)


def test_a_shifted_image_has_a_shifted_embedding() -> None:
    """Away from the border, and for shifts by 4, the stride of the coarsest scale."""
    net, image = EmbeddingNet(width=0.125, dim=8), torch.rand(1, 3, 60, 68)
    embedding, shifted = net(image[..., :-4]), net(image[..., 4:])
    inside = slice(24, -24)
    torch.testing.assert_close(embedding[..., inside, 28:-24], shifted[..., inside, 24:-28])
    assert embedding[..., inside, 28:-24].std() > 0.01


def test_every_parameter_gets_a_gradient() -> None:
    net = EmbeddingNet(width=0.125, dim=8)
    net(torch.rand(1, 3, 17, 17)).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


@pytest.mark.parametrize(
    "image",
    [torch.rand(1, 1, 8, 8), torch.rand(1, 4, 8, 8), torch.rand(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)],
)
def test_a_bad_image_is_named(image: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^image must be floating-point RGB"):
        EmbeddingNet(width=0.125, dim=8)(image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"width": 0}, "^width .*got 0"), ({"width": 0.01}, "^width .*got 0.01"), ({"dim": 0}, "^dim .*got 0")],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbeddingNet(**arguments)


def test_colour_is_scaled() -> None:
    image = torch.rand(2, 3, 5, 7)
    assert torch.equal(ColorEmbedding(4.0)(image), 4 * image)
    assert torch.equal(ColorEmbedding()(image), 10 * image)


def test_trained_network_from_a_file(tmp_path: Path) -> None:
    net = EmbeddingNet(width=0.125, dim=8)
    net.calibrate(torch.rand(1, 3, 20, 20))
    save_file({name: tensor.half() for name, tensor in net.state_dict().items()}, tmp_path / "half.safetensors")
    loaded, image = EmbeddingNet.from_pretrained(tmp_path / "half.safetensors"), torch.rand(1, 3, 17, 19)
    assert not loaded.training and {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded(image), net(image), rtol=0.01, atol=0.01)
    assert torch.equal(loaded.conv1_1.weight, net.conv1_1.weight.half().float())


@pytest.mark.parametrize("width", [0.35, 0.1, 0.15, 0.45, 0.7, 0.9, 0.02, 1 / 3, 1.0])
def test_any_width_is_loaded_again(width: float, tmp_path: Path) -> None:
    """What was asked for from the files that say so, and networks with as many channels from those that do not."""
    net = EmbeddingNet(width, dim=2)
    net.save_pretrained(tmp_path / "folder")
    save_weights(tmp_path / "trained.SafeTensors", net.half(), {"recipe": "an embedding"})
    save_file(net.state_dict(), tmp_path / "bare.safetensors")
    for file in ("folder", "folder/model.safetensors", "trained.SafeTensors", "bare.safetensors"):
        loaded = EmbeddingNet.from_pretrained(tmp_path / file)
        assert loaded.widths == net.widths and torch.equal(loaded.conv3_3.weight.half(), net.conv3_3.weight)
        assert loaded.config == net.config or file == "bare.safetensors"


@pytest.mark.parametrize(
    "config", ["{", "[]", '{"width": 0.5, "dim": 2}', '{"class": "DeepLab", "width": 0.125, "dim": 2}']
)
def test_a_config_that_does_not_fit_its_weights(config: str, tmp_path: Path) -> None:
    save_file(EmbeddingNet(0.125, dim=2).state_dict(), tmp_path / "net.safetensors", {"config": config})
    with pytest.raises(ValueError, match=r"^embedding weights: .*net\.safetensors is damaged, or not of class Emb"):
        EmbeddingNet.from_pretrained(tmp_path / "net.safetensors")


def test_trained_network_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^embedding weights: no file .*none\.safetensors"):
        EmbeddingNet.from_pretrained(tmp_path / "none.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"damaged")
    save_file({"conv1_1.bias": torch.zeros(8)}, tmp_path / "other.safetensors")
    for name in ("damaged", "other"):
        with pytest.raises(ValueError, match=rf"^embedding weights: .*{name}\.safetensors is damaged, or no"):
            EmbeddingNet.from_pretrained(tmp_path / f"{name}.safetensors")


def test_shipped_network_sees_the_border_of_the_cat() -> None:
    """On the photograph that comes with segaware, in what was learned: a step across is longer than one within."""
    image = torch.from_numpy(read_image(photograph())).permute(2, 0, 1)[None] / 255
    network = EmbeddingNet.from_pretrained()
    with torch.no_grad():
        embedding = network(image)[0, network.colors :]
    for row, outside, border, inside in ((60, 30, 48, 66), (255, 328, 310, 292)):
        across, within = (
            (embedding[:, row, border] - embedding[:, row, column]).abs().sum() for column in (outside, inside)
        )
        assert across > 1.5 * within


def test_colors_come_beside_what_another_network_has_learned():
    other, network = EmbeddingNet(0.125, 4), EmbeddingNet(0.125, 4, color=True)
    image = torch.rand(1, 3, 24, 32)
    other.calibrate(image)
    network.copy_from(other)
    embedding = network(image)
    torch.testing.assert_close(embedding[:, :3], 10 * image)
    torch.testing.assert_close(embedding[:, 3:], other(image) / 2)
    again = EmbeddingNet(0.125, 4, color=True)
    again.copy_from(network)
    torch.testing.assert_close(again(image), embedding)
    with pytest.raises(
        ValueError, match=r"channels of this network, \[16, 32, 64, 4\] and 0 colours, got \[8, 16, 32, 4\]"
    ):
        EmbeddingNet(0.25, 4).copy_from(other)
    with pytest.raises(ValueError, match=r"and 0 colours, got .* and 3"):
        other.copy_from(network)
