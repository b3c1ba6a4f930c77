"""VGG weights from files of three kinds."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from segaware.models import DeepLabLargeFOV
from segaware.nn import ColorEmbedding, EmbeddingNet, SegAwareConv2d, load_vgg_weights, read_vgg_weights
from segaware.nn.vgg_weights import NormalizeImage

# The convolutions of torchvision's vgg16().features and vgg19().features.
TORCHVISION = {
    "vgg16": {
        **{0: "conv1_1", 2: "conv1_2", 5: "conv2_1", 7: "conv2_2", 10: "conv3_1", 12: "conv3_2", 14: "conv3_3"},
        **{17: "conv4_1", 19: "conv4_2", 21: "conv4_3", 24: "conv5_1", 26: "conv5_2", 28: "conv5_3"},
    },
    "vgg19": {
        **{0: "conv1_1", 2: "conv1_2", 5: "conv2_1", 7: "conv2_2"},
        **{10: "conv3_1", 12: "conv3_2", 14: "conv3_3", 16: "conv3_4"},
        **{19: "conv4_1", 21: "conv4_2", 23: "conv4_3", 25: "conv4_4"},
        **{28: "conv5_1", 30: "conv5_2", 32: "conv5_3", 34: "conv5_4"},
    },
}
QUANTISED = "weights/vgg19_conv1_1-conv5_4.uint8.npz"


def random_weights(names: list[str], channels: int = 2) -> dict[str, Tensor]:
    tensors = {}
    for name in names:
        inputs = 3 if name == names[0] else channels
        tensors |= {f"{name}.weight": torch.randn(channels, inputs, 3, 3), f"{name}.bias": torch.randn(channels)}
    return tensors


def save(tensors: dict[str, Tensor], path: Path) -> Path:
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return path


def save_quantised(path: Path, names: list[str], channels: int = 2) -> dict[str, np.ndarray[Any, Any]]:
    """Write Caffe weights of 8 bits and return what they stand for."""
    random, arrays, meant = np.random.default_rng(0), {}, {}
    for name in names:
        q = random.integers(0, 256, (channels, 3 if name == "conv1_1" else channels, 3, 3), dtype=np.uint8)
        scale, minimum, bias = 0.01 + 0.001 * len(arrays), -1.3, random.normal(size=channels)
        arrays |= {f"{name}.weight.q": q, f"{name}.weight.scale_min": np.array([scale, minimum], np.float32)}
        arrays[f"{name}.bias"] = bias.astype(np.float32)
        meant |= {f"{name}.weight": q.astype(np.float64) * scale + minimum, f"{name}.bias": bias}
    np.savez(path, **arrays)
    return meant


class Network(nn.Module):
    """Two layers with VGG's names, one of them segmentation-aware, and one that is not VGG's."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.conv1_1 = nn.Conv2d(3, channels, 3)
        self.conv3_3 = SegAwareConv2d(channels, channels, 3, hardness=0.5)
        self.head = nn.Conv2d(channels, channels, 3)


def parameters(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_own_names(tmp_path: Path, suffix: str) -> None:
    tensors = random_weights(list(TORCHVISION["vgg16"].values()))
    path = save({**tensors, "fc6.weight": torch.zeros(1, 1)}, tmp_path / f"vgg{suffix}")
    assert_equal(read_vgg_weights(path), tensors)
    assert_equal(read_vgg_weights(str(path)), tensors)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("layout", TORCHVISION)
def test_torchvision_names(tmp_path: Path, layout: str, suffix: str) -> None:
    names = TORCHVISION[layout]
    expected = random_weights(list(names.values()))
    tensors = {
        f"features.{index}.{kind}": expected[f"{name}.{kind}"]
        for index, name in names.items()
        for kind in ("weight", "bias")
    }
    classifier = {"classifier.0.weight": torch.zeros(4, 2), "classifier.0.bias": torch.zeros(4)}
    path = save({**classifier, **tensors}, tmp_path / f"vgg{suffix}")
    assert_equal(read_vgg_weights(path), expected)


@pytest.mark.parametrize(
    "extra",
    [
        {"features.1.running_mean": torch.zeros(2)},  # vgg16_bn
        {"features.31.weight": torch.zeros(2, 2, 3, 3), "features.31.bias": torch.zeros(2)},  # 14 convolutions
    ],
)
def test_other_torchvision_networks_are_refused(tmp_path: Path, extra: dict[str, Tensor]) -> None:
    tensors = {f"features.{i}.weight": torch.zeros(2, 2, 3, 3) for i in TORCHVISION["vgg16"]}
    tensors |= {f"features.{i}.bias": torch.zeros(2) for i in TORCHVISION["vgg16"]}
    read_vgg_weights(save(tensors, tmp_path / "vgg16.pth"))
    with pytest.raises(ValueError, match=r"other\.pth is not torchvision's vgg16 or vgg19 without batch norm"):
        read_vgg_weights(save({**tensors, **extra}, tmp_path / "other.pth"))


def test_quantised_weights(tmp_path: Path) -> None:
    meant = save_quantised(tmp_path / "vgg.npz", ["conv1_1", "conv1_2", "conv5_4"])
    (tmp_path / "vgg.npz").rename(tmp_path / "vgg.NPZ")  # an ending counts in any case
    weights = read_vgg_weights(tmp_path / "vgg.NPZ")
    assert set(weights) == set(meant)
    for name in set(meant) - {"conv1_1.weight", "conv1_1.bias"}:
        torch.testing.assert_close(weights[name], torch.from_numpy(meant[name]).float())


def test_the_input_of_caffe_is_folded_into_the_first_layer(tmp_path: Path) -> None:
    meant = save_quantised(tmp_path / "vgg.npz", ["conv1_1"], channels=4)
    rgb = torch.rand(2, 3, 9, 11, dtype=torch.float64)
    caffe = 255 * rgb.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    expected = F.conv2d(caffe, *(torch.from_numpy(meant[f"conv1_1.{kind}"]) for kind in ("weight", "bias")))
    weights = read_vgg_weights(tmp_path / "vgg.npz")
    folded = F.conv2d(NormalizeImage()(rgb.float()), weights["conv1_1.weight"], weights["conv1_1.bias"])
    torch.testing.assert_close(folded.double(), expected, rtol=1e-4, atol=1e-2)
    assert expected.abs().mean() > 100


def test_layers_that_bear_vggs_names_are_loaded(tmp_path: Path) -> None:
    tensors = random_weights(list(TORCHVISION["vgg16"].values()))
    network = Network()
    expected = parameters(network) | {
        name: tensors[name] for name in tensors if name.startswith(("conv1_1", "conv3_3"))
    }
    assert load_vgg_weights(network, save(tensors, tmp_path / "vgg.pth")) == ["conv1_1", "conv3_3"]
    assert_equal(network.state_dict(), expected)
    assert network.conv1_1.weight.requires_grad


def test_a_network_without_biases_is_loaded(tmp_path: Path) -> None:
    tensors, network = random_weights(["conv1_1"]), nn.Module()
    network.conv1_1 = nn.Conv2d(3, 2, 3, bias=False)
    load_vgg_weights(network, save(tensors, tmp_path / "vgg.pth"))
    assert_equal(network.state_dict(), {"conv1_1.weight": tensors["conv1_1.weight"]})


def test_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no file .*{path.name}"):
            read_vgg_weights(path)


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors", ".caffemodel"])
@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"vgg{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^VGG weights: .*vgg\{suffix} is not a file of tensors, or it is damaged"):
        read_vgg_weights(path)


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match=r"tensor\.pth is not a file of tensors"):
        read_vgg_weights(tmp_path / "tensor.pth")
    torch.save({"epoch": 3, "layer4.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"resnet\.pth holds neither conv1_1\.weight nor features\.0\.weight"):
        read_vgg_weights(tmp_path / "resnet.pth")
    np.savez(tmp_path / "other.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz has no 'conv1_1.weight', it holds \['a', 'b'\]"):
        read_vgg_weights(tmp_path / "other.npz")
    np.savez(tmp_path / "half.npz", **{"conv1_1.weight.q": np.zeros((2, 3, 3, 3), np.uint8)})
    with pytest.raises(ValueError, match=r"half\.npz has no 'conv1_1.weight.scale_min'"):
        read_vgg_weights(tmp_path / "half.npz")


def without_bias(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != "conv3_3.bias"}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (random_weights(["conv1_1"]), r"conv3_3\.weight needs shape \(2, 2, 3, 3\), .* has nothing"),
        (
            random_weights(["conv1_1", "conv3_3"], 4),
            r"conv1_1\.weight needs shape \(2, 3, 3, 3\), .* has \(4, 3, 3, 3\)",
        ),
        (without_bias(random_weights(["conv1_1", "conv3_3"])), r"conv3_3\.bias needs shape \(2,\), .* has nothing"),
        (
            random_weights(["conv1_1", "conv3_3"]) | {"conv3_3.bias": torch.zeros(1)},
            r"conv3_3\.bias needs shape \(2,\), .* has \(1,\)",
        ),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    network = Network()
    before = parameters(network)
    with pytest.raises(ValueError, match=rf"^VGG weights: {message}"):
        load_vgg_weights(network, save(tensors, tmp_path / "vgg.pth"))
    assert_equal(network.state_dict(), before)


def test_networks_of_another_width_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vgg.npz"
    save_quantised(path, list(TORCHVISION["vgg16"].values()), channels=4)
    networks = EmbeddingNet(0.125, 4), DeepLabLargeFOV(3, 0.125, segaware_layers="fc6", embedding=ColorEmbedding())
    for network in networks:
        before = parameters(network)
        with pytest.raises(ValueError, match=r"conv1_1\.weight needs shape \(8, 3, 3, 3\).*is width 1\?"):
            network.load_vgg(path)
        assert_equal(network.state_dict(), before)


def test_weights_of_a_deeper_vgg_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vgg.npz"
    save_quantised(path, list(TORCHVISION["vgg19"].values()), channels=4)
    network = DeepLabLargeFOV(3, 1 / 16)
    before = parameters(network)
    with pytest.raises(ValueError, match=r"has conv3_4, conv4_4, conv5_4, .*use trunk='vgg19'"):
        network.load_vgg(path)
    assert_equal(network.state_dict(), before)


def test_real_weights() -> None:
    path = Path(os.environ.get("SEGAWARE_DATA", "")) / QUANTISED
    if not path.is_file():
        pytest.skip(f"SEGAWARE_DATA does not point to a folder with {QUANTISED}")
    with np.load(path) as arrays:
        scale, minimum = arrays["conv3_3.weight.scale_min"]
        expected = torch.from_numpy(arrays["conv3_3.weight.q"].astype(np.float32) * scale + minimum)
    embedding = EmbeddingNet()
    assert len(embedding.load_vgg(path)) == 7
    torch.testing.assert_close(embedding.conv3_3.weight.detach(), expected)
    # VGG's first features, of a picture half black and half white, fire along the border between the two.
    image = torch.zeros(1, 3, 32, 32)
    image[..., 16:] = 1
    network = DeepLabLargeFOV(21, segaware_layers="all", trunk="vgg19", embedding=ColorEmbedding())
    assert network.load_vgg(path) == list(TORCHVISION["vgg19"].values())
    torch.testing.assert_close(network.conv3_3.weight.detach(), expected)
    responses = network.conv1_1(NormalizeImage()(image), image)[0, :, 5:-5].amax((0, 1))
    assert responses[15:17].max() > 2 * responses[5:12].max()
