"""Which convolutions are converted, and what the report says of it."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segaware import EmbeddingNet, convert
from segaware.conversion.choice import Layers, choose
from segaware.nn import ColorEmbedding

from .conftest import Strided

ALL = ["stem", "down", "block.0", "block.2", "twice"]


class Kinds(nn.Module):
    """One of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.up = nn.ConvTranspose2d(3, 3, 3)
        self.line = nn.Conv1d(3, 3, 3)
        self.volume = nn.Conv3d(3, 3, 3)


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (None, ALL),
        ("block.*", ["block.0", "block.2"]),
        (["stem", "*.2"], ["stem", "block.2"]),
        (("down", "point"), ["down", "point"]),
        (3, ["stem", "down", "block.0", "block.2"]),
        ((3, 5), ["twice"]),
        (np.int64(3), ["stem", "down", "block.0", "block.2"]),
        ((np.int64(3), np.uint8(5)), ["twice"]),
        (1, ["point"]),
        (lambda name, conv: conv.groups > 1, ["down", "block.2"]),
    ],
)
def test_chosen(network: Strided, layers: Layers, names: list[str]) -> None:
    chosen, left = choose(network, layers)
    assert list(chosen) == names
    assert set(left) == {*ALL, "point"} - set(names)
    assert left.get("point", "1x1 window") == "1x1 window"


def test_left_alone() -> None:
    chosen, left = choose(Kinds(), "*")
    assert list(chosen) == ["conv"]
    assert left == {
        "up": "ConvTranspose2d, not a plain Conv2d",
        "line": "Conv1d, not a plain Conv2d",
        "volume": "Conv3d, not a plain Conv2d",
    }


@pytest.mark.parametrize("name", ["up", "line", "volume"])
def test_other_kinds_are_refused_by_name(name: str, embedding: EmbeddingNet) -> None:
    with pytest.raises(ValueError, match=f"layers names {name}, which cannot be converted: it is a Conv"):
        convert(Kinds(), embedding, ["conv", name])


def test_nothing_chosen(network: Strided, embedding: EmbeddingNet) -> None:
    with pytest.raises(ValueError, match=r"layers='layer4\.\*' chooses no convolution: there are stem \(3x3\), down"):
        convert(network, embedding, "layer4.*")
    with pytest.raises(ValueError, match=r"'layer4\.\*' in layers chooses no convolution: there are stem"):
        convert(network, embedding, ["stem", "layer4.*"])
    with pytest.raises(ValueError, match="layers=7 chooses no convolution"):
        convert(network, embedding, 7)
    with pytest.raises(ValueError, match="there is no Conv2d in the model"):
        convert(nn.Linear(3, 3), embedding)
    for layers in (True, 3.0, [3, "stem"], {"stem"}):
        with pytest.raises(TypeError, match="layers must be a pattern of names or several, a kernel size, a function"):
            convert(network, embedding, layers)  # type: ignore[arg-type]


def test_report(network: Strided) -> None:
    network.add_module("norm", nn.BatchNorm2d(3))
    converted = convert(network, ColorEmbedding())
    bare = converted.report()
    assert [layer.name for layer in bare.converted] == ALL and bare.extra is None and "extra cost" in str(bare)
    converted.network.norm.eval()
    image = torch.rand(1, 3, 20, 24)
    report = converted.report(image)
    assert converted.training and not converted.network.norm.training
    rows = {layer.name: layer for layer in report.converted}
    assert (rows["stem"].size, rows["down"].size, rows["block.2"].size) == ((20, 24), (20, 24), (5, 6))
    assert (rows["down"].stride, rows["block.0"].stride, rows["block.2"].stride) == (1, 2, 4)
    assert rows["down"].window == "3x3 stride 2 groups 8" and rows["block.2"].window == "3x3 dilation 2 groups 2"
    assert rows["stem"].operations == 20 * 24 * 8 * 3 * 9
    # Of a tap: 3 channels and the mask's sum and exponential; 3 channels of its distance.
    assert rows["stem"].extra == 20 * 24 * 9 * (3 + 2 + 3)
    assert rows["down"].operations == 10 * 12 * 8 * 9 and rows["down"].extra == 10 * 12 * 9 * (8 + 2 + 3)
    point = 20 * 24 * 8 * 4
    assert report.operations == sum(layer.operations or 0 for layer in report.converted) + point
    assert report.extra_parameters == 5 and report.embedding_parameters == report.embedding_operations == 0
    text = str(report)
    assert re.search(r"block\.0 +3x3 stride 2 +10x12 +2 +\+[\d.]+ %", text) and "left alone, 1x1 window: point" in text
    assert "5 converted, 1 left alone, 5 parameters more, 0 in the embedding" in text


def test_report_of_a_learned_embedding(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    report = convert(network, embedding).report(image)
    assert report.embedding_parameters == sum(p.numel() for p in embedding.parameters())
    first = 2 * 21 * 26 * 8 * 3 * 9
    assert report.embedding_operations is not None and report.embedding_operations > first


def test_a_report_leaves_no_trace(embedding: EmbeddingNet, image: Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(), nn.Linear(26, 2))
    network[2].eval()
    converted = convert(network, embedding.eval())
    modes = [module.training for module in converted.modules()]
    before = {name: tensor.clone() for name, tensor in converted.state_dict().items()}
    converted.report(image)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        converted.report(image[..., :9])
    assert [module.training for module in converted.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in converted.state_dict().items())
    assert not any(module._forward_hooks for module in converted.modules())


def test_a_report_knows_the_layers_of_the_network_from_those_of_its_embedding(image: Tensor) -> None:
    embedding = convert(nn.Conv2d(3, 4, 3, padding=1), ColorEmbedding())
    report = convert(nn.Sequential(nn.Conv2d(3, 5, 3, 2), nn.Conv2d(5, 2, 1)), embedding).report(image)
    assert [layer.name for layer in report.converted] == ["0"] and report.extra_parameters == 1
    assert report.operations == 2 * 10 * 12 * 5 * (27 + 2) and report.embedding_operations == 2 * 21 * 26 * 4 * 27
