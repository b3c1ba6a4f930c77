"""Converting a network, and what it computes then."""

import copy
import inspect
import itertools
import pickle

import pytest
import torch
from torch import Tensor, nn

from segaware import Denormalize, EmbeddingNet, SegAwareConv2d, convert, embedding_distance, revert
from segaware.conversion import SegAwareModel
from segaware.conversion.layer import ConvertedConv2d
from segaware.nn import ColorEmbedding
from segaware.nn.resampling import sample

from .conftest import Strided


@pytest.mark.parametrize("size", [(21, 26), (32, 32), (17, 40), (9, 9)])
@pytest.mark.parametrize("training", [True, False])
def test_at_hardness_0_it_is_the_original(
    network: Strided, embedding: EmbeddingNet, size: tuple[int, int], training: bool
) -> None:
    network.add_module("down", nn.Sequential(network.down, nn.BatchNorm2d(8)))
    network.train(training)
    converted = convert(network, embedding)
    image = torch.rand(2, 3, *size)
    torch.testing.assert_close(converted(image)["out"], network(image)["out"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
def test_at_hardness_0_with_any_geometry(padding_mode: str, embedding: EmbeddingNet) -> None:
    image = torch.rand(1, 3, 21, 18)
    for kernel, stride, dilation, padding in itertools.product((2, 3, (4, 5)), (1, 2, 3), (1, 2), (0, 2)):
        layer = nn.Conv2d(3, 6, kernel, stride, padding, dilation, groups=3, padding_mode=padding_mode)  # type: ignore[arg-type]
        torch.testing.assert_close(convert(layer, embedding)(image), layer(image), rtol=1e-5, atol=1e-5)


def test_a_hard_one_by_hand(network: Strided, image: Tensor) -> None:
    """Every layer sees the embedding at its own pixels."""
    converted = convert(network, ColorEmbedding(), hardness=0.3)
    e = ColorEmbedding()(image)

    def layer(name: str, x: Tensor, step: int) -> Tensor:
        plain = network.get_submodule(name)
        assert isinstance(plain, nn.Conv2d)
        aware = SegAwareConv2d(
            plain.in_channels, plain.out_channels, plain.kernel_size, plain.stride, plain.padding, plain.dilation,
            plain.groups, plain.bias is not None, hardness=0.3,
        )  # type: ignore[arg-type]  # fmt: skip
        aware.load_state_dict(plain.state_dict())
        return aware(x, e[:, :, ::step, ::step])

    x = layer("down", layer("stem", image, 1).relu(), 1)
    x = layer("block.2", layer("block.0", x, 2).relu(), 4)
    x = nn.functional.interpolate(x, image.shape[-2:], mode="bilinear")
    expected = network.point(layer("twice", layer("twice", x, 1).relu(), 1))
    actual = converted(image)["out"]
    torch.testing.assert_close(actual, expected)
    assert (actual - network(image)["out"]).abs().max() > 1e-2


def test_a_map_without_a_stride_sees_the_nearest_pixels(image: Tensor) -> None:
    network = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, padding=1))  # floor: 21 rows become 10
    converted = convert(network, ColorEmbedding(), hardness=0.5)
    layer = SegAwareConv2d(3, 4, 3, padding=1, hardness=0.5)
    layer.load_state_dict(network[1].state_dict())
    pooled = network[0](image)
    expected = layer(pooled, sample(ColorEmbedding()(image), (10, 13)))
    torch.testing.assert_close(converted(image), expected)


def test_the_original_is_left_alone(network: Strided, embedding: EmbeddingNet) -> None:
    network.eval()
    before = copy.deepcopy(network.state_dict())
    converted = convert(network, embedding, hardness=0.5)
    with torch.no_grad():
        for parameter in converted.network.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(isinstance(module, SegAwareConv2d) for module in network.modules())
    assert not converted.training and embedding.training  # each as it was


def test_a_shared_layer_is_converted_once(network: Strided, embedding: EmbeddingNet) -> None:
    converted = convert(network, embedding)
    assert converted.network.twice is converted.network.again
    assert [name for name, _ in converted.named_parameters() if name.endswith("hardness")] == [
        f"network.{name}.hardness" for name in ("stem", "down", "block.0", "block.2", "twice")
    ]
    assert isinstance(convert(network, embedding, "again").network.twice, ConvertedConv2d)


def test_hooks_and_tied_weights_stay(embedding: EmbeddingNet, image: Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
    network[1].weight = network[0].weight
    network[0].register_forward_hook(lambda module, inputs, output: output * 0)
    converted = convert(network, embedding)
    assert converted.network[0].weight is converted.network[1].weight
    torch.testing.assert_close(converted(image), network(image))


def test_copies(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    converted = convert(network, embedding, hardness=0.3)
    expected = converted(image)["out"]
    for copied in (copy.deepcopy(converted), pickle.loads(pickle.dumps(converted))):
        assert isinstance(copied, SegAwareModel)
        torch.testing.assert_close(copied(image)["out"], expected)
        assert copied.network.stem is not converted.network.stem
    other = convert(Strided(), EmbeddingNet(0.125, dim=4))
    other.load_state_dict(converted.state_dict())
    torch.testing.assert_close(other(image)["out"], expected)
    other.network.load_state_dict(network.state_dict())  # of the original: hardness stays
    torch.testing.assert_close(other(image)["out"], expected)


def test_attributes_are_the_networks(embedding: EmbeddingNet, image: Tensor) -> None:
    """Set, replaced and deleted as in a plain module: what is called, copied and reverted to changes with them."""

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.layer1 = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
            self.fc = nn.Linear(4, 5)
            self.scale = 1.0

        def forward(self, image: Tensor) -> Tensor:
            return self.scale * self.fc(self.layer1(self.conv(image)).mean((2, 3)))

    model = Classifier()
    converted = convert(model, embedding, hardness=0.3)
    keys = list(converted.state_dict())
    for module in (model, converted):
        torch.manual_seed(0)
        module.fc = nn.Linear(4, 7)
        module.layer1[0] = nn.Conv2d(4, 4, 1)
        module.layer1[-1] = nn.Tanh()
        module.conv = nn.Conv2d(3, 4, 3, padding=1)
        module.scale = 3.0
        module.register_buffer("seen", torch.zeros(2), persistent=False)
        module.register_buffer("counts", torch.zeros(2))
        module.register_parameter("shift", nn.Parameter(torch.zeros(3)))
        module.add_module("head", nn.Identity())
        module.register_module("tail", nn.Linear(2, 2))
        module.unused = nn.Linear(2, 2)
        del module.unused
        with pytest.raises(AttributeError):
            del module.unused
        with pytest.raises(TypeError, match="cannot assign"):
            module.fc = 3
    assert converted.fc is converted.network.fc is converted.get_submodule("network.fc")
    assert converted.scale == converted.network.scale == 3 and not hasattr(converted, "unused")
    assert list(converted._modules) == ["network", "embedding"] and not converted._buffers and not converted._parameters
    theirs = [f"network.{key}" for key in model.state_dict()]
    assert sorted(converted.state_dict()) == sorted([*theirs, *(key for key in keys if key.startswith("embedding."))])
    expected = model(image)
    assert expected.shape == (2, 7)
    for other in (converted, copy.deepcopy(converted), revert(converted)):
        torch.testing.assert_close(other(image), expected)
    assert converted.to(torch.float64).fc.weight.dtype == converted.seen.dtype == torch.float64


def test_its_own_attributes_are_set(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    converted = convert(network, embedding, hardness=0.3)
    expected = converted(image)["out"]
    converted.embedding = EmbeddingNet(0.125, dim=4)
    converted.network = copy.deepcopy(converted.network)
    assert not hasattr(converted.network, "embedding") and not hasattr(converted.network, "network")
    assert not torch.equal(converted(image)["out"], expected)
    converted.embedding = embedding
    copied = pickle.loads(pickle.dumps(converted))
    copied.stem = nn.Conv2d(3, 8, 1)
    assert copied.network.stem is copied.stem is not converted.stem
    assert torch.equal(converted(image)["out"], expected)
    converted.eval()
    assert not converted.training and not converted.network.training


def test_items_are_the_networks(embedding: EmbeddingNet, image: Tensor) -> None:
    converted = convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), embedding)
    converted[0] = nn.Conv2d(3, 6, 1)
    converted[-1] = nn.Conv2d(6, 2, 1)
    del converted[1]
    converted.append(nn.Sigmoid())
    assert len(converted) == 3 and list(converted) == list(converted.network)
    assert copy.deepcopy(converted)[1].out_channels == 2
    torch.testing.assert_close(converted(image), revert(converted)(image))
    with pytest.raises(TypeError):
        len(convert(nn.Conv2d(3, 3, 3), embedding))  # type: ignore[arg-type]


def test_revert(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    converted = convert(network, embedding)
    with torch.no_grad():
        converted.network.stem.weight.mul_(2)
    plain = revert(converted)
    assert type(plain) is Strided and {type(m) for m in plain.modules()} == {type(m) for m in network.modules()}
    assert plain.state_dict().keys() == network.state_dict().keys()
    torch.testing.assert_close(plain(image)["out"], converted(image)["out"])
    assert str(plain) == str(network) and isinstance(converted.network.stem, ConvertedConv2d)


def test_it_is_called_as_the_network(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    network.config = {"labels": 4}  # type: ignore[assignment]
    converted = convert(network, embedding, hardness=0.3)
    assert inspect.signature(converted.forward) == inspect.signature(network.forward)
    assert converted.config == {"labels": 4} and converted.reentrant is None
    with pytest.raises(AttributeError, match="nothing"):
        converted.nothing  # noqa: B018
    torch.testing.assert_close(converted(image=image), converted(image))


def test_embeddings_of_many_kinds(network: Strided, image: Tensor) -> None:
    depth = torch.rand(2, 1, 21, 26)
    coarse = nn.Conv2d(3, 5, 3, stride=4, padding=1)

    def upsampled(image: Tensor) -> Tensor:
        return nn.functional.interpolate(coarse(image), image.shape[-2:])

    for embedding in (lambda image: depth, upsampled, ColorEmbedding(), nn.Sequential(Denormalize(), nn.Identity())):
        converted = convert(network, embedding, hardness=0.5)
        assert converted(image)["out"].shape == (2, 4, 21, 26)
        module = isinstance(embedding, nn.Module)
        assert (len(list(converted.children())) == 2) == module


def test_distances_are_computed_once(
    network: Strided, embedding: EmbeddingNet, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = []

    def count(e: Tensor, *window: object) -> Tensor:
        windows.append((e.shape[-2:], *window))
        return embedding_distance(e, *window)  # type: ignore[arg-type]

    monkeypatch.setattr("segaware.nn.segaware_conv.embedding_distance", count)
    network.block.add_module("more", nn.Conv2d(8, 8, 3, 1, 2, 2))  # the window of block.2
    convert(network, embedding)(image)
    assert len(windows) == len(set(windows)) == 5


def test_everything_is_trained(network: Strided, embedding: EmbeddingNet, image: Tensor) -> None:
    converted = convert(network, embedding)
    converted(image)["out"].square().sum().backward()
    gradients = {name: p.grad for name, p in converted.named_parameters()}
    hardness = [g for name, g in gradients.items() if name.endswith("hardness")]
    # Those that want to grow do; the others stay at 0.
    assert len(hardness) == 5 and min(hardness) < 0 and max(hardness) <= 0  # type: ignore[type-var]
    with torch.no_grad():
        for name, parameter in converted.named_parameters():
            if name.endswith("hardness"):
                parameter.fill_(0.3)
    converted(image)["out"].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in converted.parameters())


def test_half_precisions(network: Strided, image: Tensor) -> None:
    converted = convert(network, ColorEmbedding(), hardness=0.3)
    expected = converted(image)["out"]
    with torch.autocast("cpu", torch.bfloat16):
        output = converted(image)["out"]
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=0.1, atol=0.05)
    for dtype in (torch.bfloat16, torch.float16):
        half = copy.deepcopy(converted).to(dtype)
        output = half(image.to(dtype))["out"]
        assert output.dtype == dtype
        torch.testing.assert_close(output.float(), expected, rtol=0.1, atol=0.05)


def test_bad_arguments(network: Strided, embedding: EmbeddingNet) -> None:
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got str"):
        convert("resnet", embedding)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="embedding must be a module or function of an image, got Tensor"):
        convert(network, torch.zeros(1, 2, 3, 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hardness must be finite and 0 or more, got -1"):
        convert(network, embedding, hardness=-1)
    converted = convert(network, embedding)
    for model in (converted, converted.network, nn.Sequential(converted)):
        with pytest.raises(ValueError, match=r"converted already; segaware\.revert makes it plain"):
            convert(model, embedding)
    with pytest.raises(TypeError, match=r"converted must be what segaware\.convert returns, got Strided"):
        revert(network)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("embedded", "message"),
    [
        (torch.rand(1, 4, 21, 26), "embedding must have the batch of the image, 2, got 1"),
        (torch.rand(2, 0, 21, 26), r"with at least one channel, got \(2, 0, 21, 26\)"),
        (torch.rand(4, 21, 26), r"map \(N, E, H, W\) .* got \(4, 21, 26\)"),
        (torch.ones(2, 4, 21, 26, dtype=torch.int64), "floating-point map .* of torch.int64"),
        (None, "floating-point map .* got NoneType"),
        (torch.rand(2, 4, 10, 26), r"must not be smaller than the features of stem, \(21, 26\), got \(10, 26\)"),
    ],
)
def test_bad_embeddings(network: Strided, image: Tensor, embedded: Tensor, message: str) -> None:
    given = [embedded]
    converted = convert(network, lambda image: given[0])
    with pytest.raises(ValueError, match=message):
        converted(image)
    given[0] = torch.rand(2, 4, 21, 26)
    assert converted(image)["out"].shape == (2, 4, 21, 26)  # the failed call has left nothing behind


def test_bad_calls(embedding: EmbeddingNet, image: Tensor) -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x[:1])

    converted = convert(Halves(), embedding)
    with pytest.raises(ValueError, match="batch of the features of conv, 1, got 2"):
        converted(image)
    for argument in (image[0], image.long(), "image"):
        with pytest.raises(ValueError, match=r"needs an image, a floating-point tensor \(N, C, H, W\)"):
            converted(argument)
    with pytest.raises(RuntimeError, match="conv is segmentation-aware and needs the image: call the converted"):
        converted.network(image)
