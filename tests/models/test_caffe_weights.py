"""Weights of Caffe in the networks here: which blob goes where, and what it computes there."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segaware.models import DeepLabLargeFOV, DeepLabV2, ScoreRefinement, load_caffe
from segaware.nn import ColorEmbedding, EmbeddingNet

from .caffe_files import write_caffemodel

Layers = dict[str, list[Tensor]]
WIDTH = 0.0625
CHANNELS = int(64 * WIDTH)
MEAN_BGR = torch.tensor([104.008, 116.669, 122.675]).view(3, 1, 1)
UNITS = {2: "abc", 3: ["a", *(f"b{i}" for i in range(1, 4))], 4: ["a", *(f"b{i}" for i in range(1, 23))], 5: "abc"}
VGG = [f"conv{b}_{i}" for b, count in enumerate((2, 2, 3, 3, 3), start=1) for i in range(1, count + 1)]


def norm(channels: int) -> tuple[list[Tensor], list[Tensor]]:
    """Blobs of a BatchNorm and of a Scale layer; the first's are sums over 2.5 batches."""
    count = torch.tensor([2.5])
    return [2.5 * torch.randn(channels), 2.5 * (0.5 + torch.rand(channels)), count], [
        torch.rand(channels),
        torch.randn(channels),
    ]


def resnet_layers() -> Layers:
    """DeepLabV2's trunk and classifiers for 4 classes, in Caffe's names."""
    layers: Layers = {"conv1": [10 * torch.randn(CHANNELS, 3, 7, 7)]}
    layers["bn_conv1"], layers["scale_conv1"] = norm(CHANNELS)
    inputs = CHANNELS
    for stage, units in UNITS.items():
        width = CHANNELS * 2 ** (stage - 2)
        for unit in units:
            shapes = {"2a": (width, inputs, 1, 1), "2b": (width, width, 3, 3), "2c": (4 * width, width, 1, 1)}
            if unit == "a":
                shapes["1"] = (4 * width, inputs, 1, 1)
            for branch, shape in shapes.items():
                place = f"{stage}{unit}_branch{branch}"
                layers[f"res{place}"] = [torch.randn(shape) / 10]
                layers[f"bn{place}"], layers[f"scale{place}"] = norm(shape[0])
            inputs = 4 * width
    for i in range(4):
        layers[f"fc1_voc12_c{i}"] = [torch.randn(4, inputs, 3, 3) / 10, torch.randn(4)]
    return layers


def copies(layers: Layers) -> Layers:
    """The same layers at two more scales."""
    renamed = {}
    for scale in ("_res05", "_res075"):
        for name, blobs in layers.items():
            before, c, after = name.partition("_c") if name.startswith("fc1") else (name, "", "")
            renamed[f"{before}{scale}{c}{after}"] = blobs
    return renamed


def released_layers() -> Layers:
    """What the release's network has more: embedding, CRF and the hardness of the filter."""
    layers: Layers = {}
    inputs = 3
    for name, channels in (("1_1", 1), ("1_2", 1), ("2_1", 2), ("2_2", 2), ("3_1", 4), ("3_2", 4), ("3_3", 4)):
        weight = torch.randn(channels * CHANNELS, inputs, 3, 3) / (9 * inputs)
        layers[f"emb{name}"] = [weight, torch.randn(channels * CHANNELS)]
        inputs = channels * CHANNELS
    layers["emb"] = [torch.randn(64, 3 + 7 * CHANNELS, 1, 1), torch.randn(64)]
    layers["scaled_emb"] = [torch.tensor([-30.0])]
    layers["scaled_xy"], layers["scaled_xy2"] = [torch.tensor([0.04])], [torch.tensor([-0.5])]
    layers["crf"] = [torch.randn(1, 1, 4, 4) for _ in range(3)]
    layers["halfsize_dist_sc"] = [torch.tensor([40.0])]
    return layers


def vgg_layers(classifier: str = "fc8_voc12") -> Layers:
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for name in VGG:
        outputs = int((64, 128, 256, 512, 512)[int(name[4]) - 1] * WIDTH)
        shapes[name], inputs = (outputs, inputs, 3, 3), outputs
    wide = int(1024 * WIDTH)
    shapes |= {"fc6": (wide, inputs, 3, 3), "fc7": (wide, wide, 1, 1), classifier: (4, wide, 1, 1)}
    return {name: [torch.randn(shape), torch.randn(shape[0])] for name, shape in shapes.items()}


def caffe_input(image: Tensor) -> Tensor:
    return 255 * image.flip(1) - MEAN_BGR


def inside(maps: Tensor, margin: int) -> Tensor:
    return maps[..., margin:-margin, margin:-margin]


def assert_close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 33, 41)


def test_large_fov(tmp_path: Path, image: Tensor) -> None:
    layers = vgg_layers()
    network = DeepLabLargeFOV(4, WIDTH)
    report = load_caffe(network, write_caffemodel(tmp_path / "vgg.caffemodel", layers))
    state = network.state_dict()
    for name, (weight, bias) in layers.items():
        ours = name.removesuffix("_voc12")
        assert report.used[f"{name}[0]"] == f"{ours}.weight" and report.used[f"{name}[1]"] == f"{ours}.bias"
        if name != "conv1_1":
            assert torch.equal(state[f"{ours}.weight"], weight) and torch.equal(state[f"{ours}.bias"], bias)
    assert (report.copies, report.unused, report.unfilled) == ((), (), ())
    found = network.get_submodule("conv1_1")(network.normalize(image))
    assert_close(inside(found, 1), inside(F.conv2d(caffe_input(image), *layers["conv1_1"], padding=1), 1))


def test_old_files_and_other_data_sets_classifiers(tmp_path: Path) -> None:
    layers = vgg_layers("fc8_pascal")
    network = DeepLabLargeFOV(4, WIDTH, segaware_layers="all", hardness=0.5, embedding=EmbeddingNet(WIDTH, 2))
    report = load_caffe(network, write_caffemodel(tmp_path / "vgg.caffemodel", layers, kind="old"))
    assert torch.equal(network.state_dict()["fc8.bias"], layers["fc8_pascal"][1])
    assert "embedding.conv1_1.weight" in report.unfilled and "fc6.hardness" in report.unfilled
    assert not any(name.startswith("conv") and not name.endswith("hardness") for name in report.unfilled)


def test_resnet_with_its_copies(tmp_path: Path, image: Tensor) -> None:
    layers = resnet_layers()
    network = DeepLabV2(4, WIDTH)
    path = write_caffemodel(tmp_path / "resnet.caffemodel", copies(layers) | layers | {"loss": [torch.ones(1)]})
    report = load_caffe(network, path)
    state = network.state_dict()
    for stage, units in UNITS.items():
        for i, unit in enumerate(units):
            for branch, ours in (("2a", "1"), ("2b", "2"), ("2c", "3"), ("1", "")):
                place, block = f"{stage}{unit}_branch{branch}", f"trunk.layer{stage - 1}.{i}"
                if f"res{place}" not in layers:
                    continue
                conv, bn = (
                    (f"{block}.conv{ours}", f"{block}.bn{ours}")
                    if ours
                    else (f"{block}.downsample.0", f"{block}.downsample.1")
                )
                assert torch.equal(state[f"{conv}.weight"], layers[f"res{place}"][0])
                for name, sums in zip(("running_mean", "running_var"), layers[f"bn{place}"], strict=False):
                    torch.testing.assert_close(state[f"{bn}.{name}"], sums / 2.5)
                for name, blob in zip(("weight", "bias"), layers[f"scale{place}"], strict=True):
                    assert torch.equal(state[f"{bn}.{name}"], blob)
    for i in range(4):
        assert torch.equal(state[f"aspp.{i}.weight"], layers[f"fc1_voc12_c{i}"][0])
        assert torch.equal(state[f"aspp.{i}.bias"], layers[f"fc1_voc12_c{i}"][1])
    assert len(report.used) == sum(map(len, layers.values()))
    assert len(report.copies) == 2 * len(report.used)
    assert (report.unused, report.unfilled) == (("loss[0]",), ())

    x = F.conv2d(caffe_input(image), layers["conv1"][0], stride=2, padding=3)
    mean, variance, count = layers["bn_conv1"]
    x = (x - (mean / count).view(-1, 1, 1)) / ((variance / count).view(-1, 1, 1) + 1e-5).sqrt()
    x = x * layers["scale_conv1"][0].view(-1, 1, 1) + layers["scale_conv1"][1].view(-1, 1, 1)
    found = network.trunk.bn1(network.trunk.conv1(network.normalize(image)))
    assert_close(inside(found, 2), inside(x, 2))


def test_released_network(tmp_path: Path) -> None:
    image = torch.rand(1, 3, 65, 73)
    layers = resnet_layers() | released_layers()
    network = DeepLabV2.released(4, WIDTH)
    report = load_caffe(network, write_caffemodel(tmp_path / "released.caffemodel", layers))
    assert (report.unused, report.unfilled) == ((), ())
    crf, smooth = network.refinement.crf, network.refinement.filter
    assert crf is not None and smooth is not None
    for name, blob in zip(("spatial_weight", "bilateral_weight", "compatibility"), layers["crf"], strict=True):
        assert torch.equal(getattr(crf, name), blob[0, 0])
    assert (crf.hardness.item(), smooth.hardness.item()) == (450.0, 40.0)
    assert crf.log_bandwidth.exp().item() == pytest.approx(25)
    assert crf.log_spatial_bandwidth.exp().item() == pytest.approx(2)

    features, x = [0.0039215 * caffe_input(image)], caffe_input(image)
    for name in ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3"):
        if name in ("2_1", "3_1"):
            x = F.max_pool2d(x, 3, 2, 1)
        x = F.conv2d(x, *layers[f"emb{name}"], padding=1).relu()
        if name in ("1_2", "2_2", "3_3"):
            features.append(F.interpolate(x, image.shape[-2:], mode="bilinear", align_corners=True))
    wanted = F.conv2d(torch.cat(features, 1), *layers["emb"])
    # Up to the reach of the padding, in which a grey level and less differ.
    assert_close(inside(network.embedding(image), 28), inside(wanted, 28))


def test_plain_file_leaves_the_rest_of_the_released_network_alone(tmp_path: Path) -> None:
    network = DeepLabV2.released(4, WIDTH)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = load_caffe(network, write_caffemodel(tmp_path / "plain.caffemodel", resnet_layers()))
    others = [name for name in before if name.startswith(("embedding.", "refinement."))]
    assert list(report.unfilled) == others
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in others)


def test_released_file_in_a_plain_network(tmp_path: Path) -> None:
    layers = released_layers()
    path = write_caffemodel(tmp_path / "released.caffemodel", resnet_layers() | layers)
    report = load_caffe(DeepLabV2(4, WIDTH), path)
    assert set(report.unused) == {f"{name}[{i}]" for name, blobs in layers.items() for i in range(len(blobs))}
    report = load_caffe(
        DeepLabV2(4, WIDTH, refinement=ScoreRefinement(4, filter_kernel_size=3), embedding=ColorEmbedding()), path
    )
    assert report.used["halfsize_dist_sc[0]"] == "refinement.filter.hardness"


def test_report_names_all_blobs_and_tensors(tmp_path: Path) -> None:
    layers = vgg_layers()
    path = write_caffemodel(
        tmp_path / "vgg.caffemodel", layers | {"conv1_1_res05": layers["conv1_1"], "x": layers["fc7"]}
    )
    network = DeepLabLargeFOV(4, WIDTH, refinement=ScoreRefinement(4, filter_kernel_size=3), embedding=ColorEmbedding())
    lines = str(load_caffe(network, path)).splitlines()
    assert lines[0] == "blobs used: 32"
    assert "  fc8_voc12[1] -> fc8.bias" in lines
    assert lines[33:] == [
        "copies of these, for other scales: 2",
        "  conv1_1_res05[0]",
        "  conv1_1_res05[1]",
        "blobs not used: 2",
        "  x[0]",
        "  x[1]",
        "tensors of the network that the file does not have, left as they were: 1",
        "  refinement.filter.hardness",
    ]


def v2(**options: Any) -> DeepLabV2:
    return DeepLabV2(4, WIDTH, **options)


def without(layers: Layers, *names: str) -> Layers:
    return {name: blobs for name, blobs in layers.items() if name not in names}


@pytest.mark.parametrize(
    ("make", "layers", "message"),
    [
        (
            v2,
            vgg_layers,
            "is not of this DeepLabV2: of its .* tensors it lacks .*; the file has layers conv1_1, conv1_2",
        ),
        (
            lambda: DeepLabLargeFOV(4, WIDTH),
            resnet_layers,
            "is not of this DeepLabLargeFOV: .* lacks 32, conv1_1.weight, .*; the file has layers conv1, bn_conv1",
        ),
        (v2, lambda: without(resnet_layers(), "res4b22_branch2b"), "lacks 1, trunk.layer3.22.conv2.weight; "),
        (v2, lambda: without(resnet_layers(), "scale3a_branch1"), "lacks 2, trunk.layer2.0.downsample.1.weight"),
        (
            lambda: DeepLabV2.released(4, WIDTH),
            lambda: without(resnet_layers() | released_layers(), "emb2_1"),
            "lacks 2, embedding.conv2_1.weight, embedding.conv2_1.bias; ",
        ),
        (
            lambda: DeepLabV2.released(4, WIDTH),
            lambda: without(resnet_layers() | released_layers(), "scaled_xy"),
            "lacks 1, refinement.crf.log_bandwidth; ",
        ),
        (
            lambda: DeepLabV2(5, WIDTH),
            resnet_layers,
            r"aspp.0.weight needs shape \(5, 128, 3, 3\), .* has \(4, 128, 3, 3\)",
        ),
        (
            v2,
            lambda: resnet_layers() | {"conv1": [torch.zeros(CHANNELS, 4, 7, 7)]},
            r"trunk.conv1.weight needs shape \(4, 3, 7, 7\), .* has \(4, 4, 7, 7\)",
        ),
        (
            v2,
            lambda: resnet_layers() | {"conv1_res05": [torch.zeros(CHANNELS, 3, 7, 7)]},
            "layers conv1 and conv1_res05, which should share their weights, but they differ",
        ),
        (
            lambda: v2(refinement=ScoreRefinement(4, crf="segaware"), embedding=ColorEmbedding()),
            lambda: resnet_layers() | released_layers(),
            "compares squared Euclidean distances, the network's l1; make it with crf_metric='sqeuclidean'",
        ),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path, make: Any, layers: Any, message: str) -> None:
    network = make()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = write_caffemodel(tmp_path / "net.caffemodel", layers())
    with pytest.raises(ValueError, match=message) as error:
        load_caffe(network, path)
    assert str(error.value).startswith("Caffe weights: ") and str(path) in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_file_cut_off_changes_nothing(tmp_path: Path) -> None:
    network = v2()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = write_caffemodel(tmp_path / "net.caffemodel", resnet_layers())
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"cut off or damaged"):
        load_caffe(network, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
