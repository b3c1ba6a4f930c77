"""DeepLabLargeFOV."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.models import DeepLabLargeFOV, ScoreRefinement
from segaware.nn import BilateralFilter2d, ColorEmbedding, EmbeddingNet, SegAwareConv2d, bilateral_filter, segaware_conv

# DeepLab-LargeFOV: name, width, kernel size, dilation.
LAYERS = [
    *(("conv1_1", 64, 3, 1), ("conv1_2", 64, 3, 1)),
    *(("conv2_1", 128, 3, 1), ("conv2_2", 128, 3, 1)),
    *(("conv3_1", 256, 3, 1), ("conv3_2", 256, 3, 1), ("conv3_3", 256, 3, 1)),
    *(("conv4_1", 512, 3, 1), ("conv4_2", 512, 3, 1), ("conv4_3", 512, 3, 1)),
    *(("conv5_1", 512, 3, 2), ("conv5_2", 512, 3, 2), ("conv5_3", 512, 3, 2)),
    *(("fc6", 1024, 3, 12), ("fc7", 1024, 1, 1), ("fc8", 21, 1, 1)),
]
TINY = 1 / 64


def with_refinement(options: dict[str, Any]) -> dict[str, Any]:
    """Gather the options of a `ScoreRefinement`."""
    known = inspect.signature(ScoreRefinement).parameters
    own = {key: value for key, value in options.items() if key in known}
    others = {key: value for key, value in options.items() if key not in known}
    return others | {"refinement": ScoreRefinement(4, **own)}


def deeplab(*, width: float = 0.125, **options: Any) -> DeepLabLargeFOV:
    """A small network for 4 classes in eval mode, with an embedding if its options need one.

    On images this small, dilation 12 would put all taps of fc6 but the centre outside.
    """
    options.setdefault("fc6_dilation", 2)
    if options.get("segaware_layers", "none") != "none" or options.get("filter_kernel_size"):
        options.setdefault("embedding", EmbeddingNet(0.125, 8))
    return DeepLabLargeFOV(4, width, **with_refinement(options)).eval()


def with_weights_of(source: nn.Module, network: DeepLabLargeFOV) -> DeepLabLargeFOV:
    network.load_state_dict(source.state_dict(), strict=False)
    return network


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 33, 41)


@pytest.fixture
def distances(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """The (width, dilation) of every call of `embedding_distance`."""
    calls: list[tuple[int, Any]] = []

    def counted(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def count(embedding: Tensor, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Tensor:
            calls.append((embedding.shape[-1], dilation))
            return original(embedding, kernel_size, stride, padding, dilation)

        return count

    for module in (segaware_conv, bilateral_filter):
        monkeypatch.setattr(module, "embedding_distance", counted(module.embedding_distance))
    return calls


def input_widths(network: DeepLabLargeFOV, image: Tensor) -> dict[str, int]:
    """The width of what every convolution and the filter see."""
    widths: dict[str, int] = {}
    for name, module in [*network.named_children(), ("filter", network.refinement.filter)]:
        if isinstance(module, (nn.Conv2d, BilateralFilter2d)):
            module.register_forward_pre_hook(lambda _, inputs, name=name: widths.update({name: inputs[0].shape[-1]}))
    network(image)
    return widths


def test_layers() -> None:
    network = DeepLabLargeFOV(21)
    convolutions = {name: m for name, m in network.named_children() if isinstance(m, nn.Conv2d)}
    found = [(name, m.out_channels, m.kernel_size, m.dilation) for name, m in convolutions.items()]
    assert found == [(name, width, (k, k), (d, d)) for name, width, k, d in LAYERS]
    assert len([name for name in convolutions if name.startswith("conv")]) == 13
    inputs = [m.in_channels for m in convolutions.values()]
    assert inputs == [3, *(m.out_channels for m in convolutions.values())][:-1]
    assert [m.padding for m in convolutions.values()] == [(d * (k // 2),) * 2 for _, _, k, d in LAYERS]
    assert {(m.stride, m.groups, m.bias is None) for m in convolutions.values()} == {((1, 1), 1, False)}
    assert DeepLabLargeFOV(21, TINY, fc6_dilation=4).get_submodule("fc6").padding == (4, 4)


def test_vgg19_has_one_more_convolution_in_each_of_the_last_three_blocks() -> None:
    names = {name for name, _ in deeplab(width=TINY, trunk="vgg19").named_children()}
    assert names - {name for name, _ in deeplab(width=TINY).named_children()} == {"conv3_4", "conv4_4", "conv5_4"}


def test_resolutions() -> None:
    widths = input_widths(deeplab(width=TINY), torch.rand(1, 3, 321, 321))
    assert widths == {
        **dict.fromkeys(("conv1_1", "conv1_2"), 321),
        **dict.fromkeys(("conv2_1", "conv2_2"), 161),
        **dict.fromkeys(("conv3_1", "conv3_2", "conv3_3"), 81),
        **dict.fromkeys(("conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3", "fc6", "fc7", "fc8"), 41),
    }


def test_plain_network_layer_by_layer(image: Tensor) -> None:
    network = deeplab()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (image - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    weights = network.state_dict()
    for name, _, kernel_size, dilation in LAYERS:
        dilation = 2 if name == "fc6" else dilation
        padding = dilation * (kernel_size // 2)
        x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding, dilation=dilation)
        x = x if name == "fc8" else x.relu()
        if name in ("conv1_2", "conv2_2", "conv3_3"):
            x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        elif name in ("conv4_3", "conv5_3"):
            x = F.max_pool2d(x, kernel_size=3, stride=1, padding=1)
        if name == "conv5_3":
            x = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
    # At sizes 8n + 1 the corners of the scores are the corners of the image.
    expected = F.interpolate(x, (33, 41), mode="bilinear", align_corners=True)
    torch.testing.assert_close(network(image), expected)


@pytest.mark.parametrize("size", [(1, 1), (8, 9), (16, 17), (30, 45), (33, 65)])
@pytest.mark.parametrize("options", [{}, {"segaware_layers": "all", "hardness": 0.5, "filter_kernel_size": 3}])
def test_output_has_the_size_of_the_image(size: tuple[int, int], options: dict[str, Any]) -> None:
    assert deeplab(width=TINY, **options)(torch.rand(2, 3, *size)).shape == (2, 4, *size)


@pytest.mark.parametrize(
    ("segaware", "expected"),
    [("none", []), ("fc6", ["fc6"]), ("all", [name for name, _, kernel_size, _ in LAYERS if kernel_size == 3])],
)
def test_which_layers_are_segmentation_aware(segaware: Any, expected: list[str]) -> None:
    network = deeplab(segaware_layers=segaware, hardness=0.25)
    aware = {name: m for name, m in network.named_children() if isinstance(m, SegAwareConv2d)}
    assert list(aware) == expected
    assert {m.hardness.item() for m in aware.values()} <= {0.25}


@pytest.mark.parametrize("segaware", ["fc6", "all"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights_of_the_plain_network_give_its_output(segaware: Any, batch_norm: bool, image: Tensor) -> None:
    plain = deeplab(batch_norm=batch_norm)
    network = deeplab(batch_norm=batch_norm, segaware_layers=segaware)
    result = network.load_state_dict(plain.state_dict(), strict=False)
    assert result.unexpected_keys == []
    assert {key.split(".")[0] for key in result.missing_keys} == {"embedding"}
    torch.testing.assert_close(network(image), plain(image), rtol=1e-4, atol=1e-5)
    assert plain(image).std() > 1e-3

    filtered = deeplab(batch_norm=batch_norm, segaware_layers=segaware, filter_kernel_size=3)
    result = filtered.load_state_dict(plain.state_dict(), strict=False)
    assert {key.split(".")[0] for key in result.missing_keys} == {"embedding", "refinement"}
    assert result.unexpected_keys == []
    back = plain.load_state_dict(filtered.state_dict(), strict=False)
    assert back.missing_keys == []
    extra = {key.split(".")[-1 if key.endswith(".hardness") else 0] for key in back.unexpected_keys}
    assert extra == {"embedding", "hardness"}


@pytest.mark.parametrize("segaware", ["fc6", "all"])
def test_hardness_changes_the_output(segaware: Any, image: Tensor) -> None:
    plain = deeplab()
    network = with_weights_of(plain, deeplab(segaware_layers=segaware, hardness=1.0))
    assert (network(image) - plain(image)).abs().max() > 0.01 * plain(image).std()


def test_distances_are_computed_once(distances: list[tuple[int, Any]], image: Tensor) -> None:
    convolutions = [(41, (1, 1)), (21, (1, 1)), (11, (1, 1)), (6, (1, 1)), (6, (2, 2)), (6, (12, 12))]
    deeplab(segaware_layers="all", fc6_dilation=12, filter_kernel_size=3)(image)
    assert distances == [*convolutions, (21, (1, 1))]
    distances.clear()
    deeplab(segaware_layers="all", fc6_dilation=12)(image)
    assert distances == convolutions
    distances.clear()
    deeplab(segaware_layers="fc6", fc6_dilation=4, filter_kernel_size=9, filter_stride=8, filter_iterations=4)(image)
    assert distances == [(6, (4, 4)), (6, (1, 1))]
    distances.clear()
    deeplab()(image)
    assert distances == []


@pytest.mark.parametrize(("filter_stride", "width"), [(1, 41), (2, 21), (4, 11), (8, 6)])
def test_filter_is_applied_at_its_stride(filter_stride: int, width: int, image: Tensor) -> None:
    plain = deeplab()
    options = {"filter_stride": filter_stride, "embedding": ColorEmbedding()}
    one_tap = with_weights_of(plain, deeplab(filter_kernel_size=1, **options))
    assert input_widths(one_tap, image)["filter"] == width
    torch.testing.assert_close(one_tap(image), plain(image))
    filtered = with_weights_of(plain, deeplab(filter_kernel_size=3, **options))
    assert (filtered(image) - plain(image)).abs().max() > 0.01 * plain(image).std()


def test_filter_stops_at_borders_and_smooths_within_regions() -> None:
    plain = deeplab()
    image = torch.zeros(1, 3, 33, 33)
    image[..., 16:] = 1
    options = {"filter_kernel_size": 9, "filter_iterations": 20, "filter_hardness": 1.0, "filter_stride": 1}
    scores = with_weights_of(plain, deeplab(embedding=ColorEmbedding(), **options))(image)
    jumps, rough_jumps = ((s[..., 1:] - s[..., :-1]).abs().mean((0, 1, 2)) for s in (scores, plain(image)))
    assert jumps.argmax() == 15
    assert jumps[15] > 2 * rough_jumps[15]
    assert jumps[[*range(15), *range(16, 32)]].max() < rough_jumps.max() / 2


@pytest.mark.parametrize("hardness", [0.0, 0.5])
@pytest.mark.parametrize("segaware", ["fc6", "all"])
def test_task_trains_the_embedding_through_the_masks(segaware: Any, hardness: float, image: Tensor) -> None:
    network = deeplab(segaware_layers=segaware, hardness=hardness)
    (network(image) - 1).square().sum().backward()
    embedding = [p.grad for p in network.embedding.parameters()]
    assert any(g is not None and bool(g.any()) for g in embedding) == (hardness > 0)
    others = {n: p for n, p in network.named_parameters() if not n.startswith("embedding.") and "hardness" not in n}
    assert [name for name, p in others.items() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("start", "directions"), [(0.0, 1), (0.5, 2)])
def test_task_trains_every_hardness(start: float, directions: int, image: Tensor) -> None:
    """At 0 it may grow but not sink: of a loss and its opposite, one has a gradient."""
    network = deeplab(segaware_layers="all", hardness=start)
    hardnesses = [m.hardness for m in network.children() if isinstance(m, SegAwareConv2d)]
    loss = network(image).square().sum()
    up, down = (torch.autograd.grad(sign * loss, hardnesses, retain_graph=True) for sign in (1, -1))
    assert [int(u != 0) + int(d != 0) for u, d in zip(up, down, strict=True)] == [directions] * 14


def test_task_trains_the_filter_and_its_embedding(image: Tensor) -> None:
    network = deeplab(filter_kernel_size=3)
    (network(image) - torch.rand(2, 4, 33, 41)).square().sum().backward()
    assert network.refinement.filter.hardness.grad != 0
    assert all(p.grad is not None and p.grad.any() for p in network.embedding.parameters())


def test_batch_norm_sits_between_every_convolution_but_the_last_and_its_relu(image: Tensor) -> None:
    network = deeplab(batch_norm=True)
    names = [name for name, m in network.named_children() if isinstance(m, nn.BatchNorm2d)]
    assert names == [f"{name}_bn" for name, *_ in LAYERS[:-1]]
    seen: dict[str, Tensor] = {}
    for name in ("conv1_1", "conv1_1_bn", "fc7", "fc7_bn", "fc8"):
        module = network.get_submodule(name)
        module.register_forward_hook(lambda _, i, o, name=name: seen.update({f"to {name}": i[0], f"from {name}": o}))
    network.get_submodule("conv1_2").register_forward_pre_hook(lambda _, inputs: seen.update({"to conv1_2": inputs[0]}))
    network.train()
    network.dropout.p = 0.0
    network(image)
    for name, following in (("conv1_1", "conv1_2"), ("fc7", "fc8")):
        assert torch.equal(seen[f"to {name}_bn"], seen[f"from {name}"])
        torch.testing.assert_close(seen[f"to {following}"], seen[f"from {name}_bn"].relu())
        torch.testing.assert_close(
            seen[f"from {name}_bn"].mean((0, 2, 3)), torch.zeros(len(seen[f"from {name}"][0])), atol=1e-4, rtol=0
        )


def test_dropout_follows_fc6_and_fc7_in_training(image: Tensor) -> None:
    network, inputs = deeplab(dropout=0.9), {}
    for name in ("conv5_3", "fc6", "fc7", "fc8"):
        module = network.get_submodule(name)
        module.register_forward_pre_hook(
            lambda _, i, name=name: inputs.update({name: (i[0] == 0).float().mean().item()})
        )
    network(image)
    in_eval = dict(inputs)
    network.train()(image)
    assert inputs["fc7"] > 0.9 > in_eval["fc7"]
    assert inputs["fc8"] > 0.9 > in_eval["fc8"]
    assert inputs["fc6"] == in_eval["fc6"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segaware_layers": "fc6"}, "^embedding is needed with segaware_layers='fc6'.*none was given"),
        ({"segaware_layers": "all"}, "^embedding is needed with segaware_layers='all'.*none was given"),
        ({"filter_kernel_size": 3}, "^embedding is needed with .*filter_kernel_size=3.*none was given"),
        ({"embedding": ColorEmbedding()}, "^embedding is not used with segaware_layers='none'.*one was given"),
        ({"segaware_layers": "fc7", "embedding": ColorEmbedding()}, "^segaware_layers must be one of .*got 'fc7'"),
        ({"filter_stride": 0}, "^filter_stride must divide 8, got 0"),
        ({"filter_stride": 3}, "^filter_stride must divide 8, got 3"),
        ({"filter_stride": 16}, "^filter_stride must divide 8, got 16"),
        ({"filter_stride": -2}, "^filter_stride must divide 8, got -2"),
        ({"filter_kernel_size": -1}, "^kernel_size must be .*got -1"),
        ({"filter_kernel_size": 3, "filter_iterations": 0, "embedding": ColorEmbedding()}, "^iterations must be"),
        ({"segaware_layers": "fc6", "hardness": -1.0, "embedding": ColorEmbedding()}, "^hardness must be .*got -1.0"),
        ({"width": 0.01}, "^width must leave at least one channel of 64, got 0.01"),
        ({"width": -1.0}, "^width must .*got -1.0"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeepLabLargeFOV(4, **{"width": 0.125, **with_refinement(options)})


@pytest.mark.parametrize(
    ("layers", "filter_kernel_size", "stride"), [("none", 3, 2), ("fc6", 3, 2), ("fc6", 0, 8), ("all", 3, 1)]
)
def test_embedding_is_asked_for_the_finest_stride_of_the_layers(
    layers: str, filter_kernel_size: int, stride: int
) -> None:
    embedding, given = ColorEmbedding(), []
    embedding.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1:]))
    deeplab(segaware_layers=layers, filter_kernel_size=filter_kernel_size, embedding=embedding)(
        torch.rand(1, 3, 24, 24)
    )
    assert given == [(stride,)]


@pytest.mark.parametrize(
    "image", [torch.rand(1, 1, 16, 16), torch.rand(3, 16, 16), torch.zeros(1, 3, 16, 16, dtype=torch.uint8)]
)
@pytest.mark.parametrize(
    "options", [{}, {"segaware_layers": "fc6"}, {"segaware_layers": "fc6", "embedding": ColorEmbedding()}]
)
def test_a_bad_image_is_named(image: Tensor, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^image must be floating-point RGB"):
        deeplab(**options)(image)
