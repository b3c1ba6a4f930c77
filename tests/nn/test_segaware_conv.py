"""SegAwareConv2d is Conv2d with a mask."""

import copy
import inspect
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segaware.nn import SegAwareConv2d

from ..ops import numpy_loops

CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 1},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": "valid", "dilation": (1, 2)},
    {"kernel_size": 3, "padding": 1, "bias": False},
    {"kernel_size": 3, "padding": 1, "stride": 2, "groups": 2},
    {"kernel_size": 4, "padding": 2, "groups": 4},
    {"kernel_size": (2, 5), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": (4, 3), "padding": "same", "dilation": 2},
    {"kernel_size": 3, "padding": 2, "dilation": 2, "padding_mode": "reflect"},
    {"kernel_size": (2, 3), "padding": "same", "padding_mode": "circular"},
    {"kernel_size": 3, "padding": 1, "stride": 2, "padding_mode": "replicate"},
]
PAD_MODE = {"reflect": "reflect", "circular": "wrap", "replicate": "edge"}

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")


@pytest.fixture(params=CONVOLUTIONS, ids=str)
def arguments(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"in_channels": 4, "out_channels": 8, **request.param}


def image_and_embedding(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(2, 4, 7, 9, dtype=dtype), torch.randn(2, 3, 7, 9, dtype=dtype)


def test_constructor_begins_as_that_of_conv2d() -> None:
    ours, theirs = (list(inspect.signature(c).parameters.values()) for c in (SegAwareConv2d, nn.Conv2d))
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert [p.name for p in ours[len(theirs) :]] == ["normalize", "hardness"]
    positional = (4, 6, 3, 2, 1, 2, 2, False, "reflect", None, torch.float64)
    layer, conv = SegAwareConv2d(*positional), nn.Conv2d(*positional)
    assert isinstance(layer, nn.Conv2d)
    assert {name: getattr(layer, name) for name in conv.__constants__} == {
        name: getattr(conv, name) for name in conv.__constants__
    }
    assert layer.weight.dtype == torch.float64 and layer.hardness.dtype == torch.float32


def test_loads_conv2d_strictly_and_is_it_at_hardness_0(arguments: dict[str, Any]) -> None:
    conv, layer = nn.Conv2d(**arguments), SegAwareConv2d(**arguments)
    layer.load_state_dict(conv.state_dict(), strict=True)
    assert set(layer.state_dict()) == {*conv.state_dict(), "hardness"}
    image, embedding = image_and_embedding()
    torch.testing.assert_close(layer(image, embedding), conv(image))
    torch.testing.assert_close(layer(image, 1000 * embedding), conv(image))
    torch.testing.assert_close(layer(image[0], embedding[0]), conv(image[0]))


def test_loading_still_finds_other_missing_and_unexpected_keys() -> None:
    layer = SegAwareConv2d(4, 8, 3, hardness=0.3)
    assert layer.load_state_dict({"weight": layer.weight, "extra": layer.weight}, strict=False) == (["bias"], ["extra"])
    assert layer.hardness.item() == pytest.approx(0.3)
    with pytest.raises(RuntimeError, match=r"Missing key.*bias"):
        layer.load_state_dict({"weight": layer.weight})
    network = nn.Sequential(nn.Sequential(SegAwareConv2d(4, 8, 3)), nn.Conv2d(8, 1, 1))
    network.load_state_dict(nn.Sequential(nn.Sequential(nn.Conv2d(4, 8, 3)), nn.Conv2d(8, 1, 1)).state_dict())


@pytest.mark.parametrize("normalize", ["mean", "sum", "none"])
def test_numpy_loop(arguments: dict[str, Any], normalize: Any) -> None:
    layer = SegAwareConv2d(**arguments, dtype=torch.float64, normalize=normalize, hardness=0.4)
    image, embedding = (t[:1, :, :5, :6] for t in image_and_embedding(torch.float64))
    window = {"stride": layer.stride, "dilation": layer.dilation}
    padding = arguments.get("padding", 0)
    distance = numpy_loops.embedding_distance(embedding.numpy(), layer.kernel_size, "l1", padding=padding, **window)
    padded = image.numpy()
    if layer.padding_mode != "zeros":
        spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        pads = [(s // 2, s - s // 2) if padding == "same" else (padding, padding) for s in spans]
        padded, padding = np.pad(padded, [(0, 0), (0, 0), *pads], mode=PAD_MODE[layer.padding_mode]), 0
    expected = numpy_loops.segaware_conv2d(
        padded,
        layer.weight.detach().numpy(),
        np.exp(-float(np.float32(0.4)) * distance),
        np.zeros(8) if layer.bias is None else layer.bias.detach().numpy(),
        normalize,
        padding=padding,
        groups=layer.groups,
        **window,
    )
    torch.testing.assert_close(layer(image, embedding), torch.from_numpy(expected))


def test_default_is_the_mean_and_hardness_0() -> None:
    layer = SegAwareConv2d(4, 8, 3)
    assert (layer.normalize, layer.hardness.item()) == ("mean", 0.0)


def test_distance_instead_of_an_embedding(arguments: dict[str, Any]) -> None:
    layer = SegAwareConv2d(**arguments, hardness=0.7)
    image, embedding = image_and_embedding()
    assert torch.equal(layer(image, distance=layer.distance(embedding)), layer(image, embedding))


def test_gradient() -> None:
    layer = SegAwareConv2d(4, 2, (2, 3), padding=1, hardness=0.3).double()
    image, embedding = (t[:1, :, :3, :4] for t in image_and_embedding(torch.float64))

    def run(image: Tensor, embedding: Tensor, *_: Tensor) -> Tensor:
        return layer(image, embedding)

    arguments = (image.requires_grad_(), embedding.requires_grad_(), *layer.parameters())
    assert len(arguments) == 5
    assert torch.autograd.gradcheck(run, arguments)


@pytest.mark.parametrize("hardness", [0.0, 0.3])
def test_embedding_gets_a_gradient_where_there_is_a_mask(hardness: float) -> None:
    layer = SegAwareConv2d(4, 8, 3, padding=1, hardness=hardness)
    image, embedding = image_and_embedding()
    (gradient,) = torch.autograd.grad(layer(image, embedding.requires_grad_()).square().sum(), embedding)
    assert bool((gradient != 0).any()) == (hardness > 0)


def test_hardness_0_has_the_gradient_of_a_growing_hardness() -> None:
    layer = SegAwareConv2d(4, 8, 3, padding=1, dtype=torch.float64)
    image, embedding = image_and_embedding(torch.float64)
    target = SegAwareConv2d(4, 8, 3, padding=1, dtype=torch.float64, hardness=0.5)
    target.load_state_dict(nn.Conv2d.state_dict(layer) | {"hardness": torch.tensor(0.5)})

    def loss() -> Tensor:
        return (layer(image, embedding) - target(image, embedding).detach()).square().mean()

    (gradient,) = torch.autograd.grad(loss(), layer.hardness)
    before = loss()
    with torch.no_grad():
        layer.hardness.fill_(1e-4)
    assert gradient < 0
    assert gradient.item() == pytest.approx((loss() - before).item() / 1e-4, rel=1e-2)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_equal_and_independent(duplicate: Any) -> None:
    layer = SegAwareConv2d(4, 8, 3, padding=1, normalize="sum", hardness=0.7)
    image, embedding = image_and_embedding()
    expected = layer(image, embedding)
    twin = duplicate(layer)
    with torch.no_grad():
        layer.hardness.fill_(3)
    assert torch.equal(twin(image, embedding), expected)
    assert not torch.allclose(layer(image, embedding), expected)


def test_state_dict_round_trip() -> None:
    layer, other = SegAwareConv2d(4, 8, 3, hardness=0.7), SegAwareConv2d(4, 8, 3)
    image, embedding = image_and_embedding()
    other.load_state_dict(layer.state_dict())
    assert other.hardness.item() == pytest.approx(0.7)
    assert torch.equal(other(image, embedding), layer(image, embedding))


def test_repr_tells_the_window_and_the_hardness() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = repr(SegAwareConv2d(4, 8, 3, padding=1, hardness=0.25))
    conv = repr(nn.Conv2d(4, 8, 3, padding=1)).removesuffix(")")
    assert text == f"SegAware{conv}, normalize='mean', hardness=0.25)"


def test_neither_or_both_of_embedding_and_distance_is_named() -> None:
    layer = SegAwareConv2d(4, 8, 3, padding=1)
    image, embedding = image_and_embedding()
    with pytest.raises(ValueError, match="either an embedding or a distance"):
        layer(image)
    with pytest.raises(ValueError, match="either an embedding or a distance"):
        layer(image, embedding, distance=layer.distance(embedding))


def test_an_embedding_of_another_size_is_named() -> None:
    image, embedding = image_and_embedding()
    with pytest.raises(ValueError, match=r"^embedding must have .*\(7, 9\), got \(7, 8\)"):
        SegAwareConv2d(4, 8, 3, padding=1)(image, embedding[..., :8])


def test_a_distance_of_another_window_is_named() -> None:
    image, embedding = image_and_embedding()
    with pytest.raises(ValueError, match=r"^mask must be .*\(2, 9, 7, 9\).*got .*\(2, 25, 7, 9\)"):
        SegAwareConv2d(4, 8, 3, padding=1)(image, distance=SegAwareConv2d(4, 8, 5, padding=2).distance(embedding))
