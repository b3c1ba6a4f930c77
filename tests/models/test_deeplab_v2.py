"""DeepLabV2: scales, pyramid, refinement as released."""

from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.models import DeepLabV2, ScoreRefinement
from segaware.nn import (
    BilateralFilter2d,
    ColorEmbedding,
    EmbeddingNet,
    ReleasedEmbedding,
    SegAwareConv2d,
    SegAwareCRF,
    resample,
    segaware_conv,
    upsample,
)


def deeplab(**options: Any) -> DeepLabV2:
    """A tiny network for 4 classes, with scores that vary."""
    network = DeepLabV2(4, 0.0625, **options).eval()
    for layer in network.aspp:
        nn.init.normal_(layer.weight, std=0.1)  # type: ignore[arg-type]
        nn.init.normal_(layer.bias)  # type: ignore[arg-type]
    return network


def with_weights_of(source: nn.Module, network: DeepLabV2) -> DeepLabV2:
    network.load_state_dict(source.state_dict(), strict=False)
    return network


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 65, 97)


def test_scores_step_by_step(image: Tensor) -> None:
    """At sizes 32n + 1 every resampling is `F.interpolate` with its corners on pixels."""
    network = deeplab()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (image - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    scores = []
    for size, low in (((65, 97), (9, 13)), ((49, 73), (7, 10)), ((33, 49), (5, 7))):
        features = network.trunk(F.interpolate(x, size, mode="bilinear", align_corners=True))
        pyramid: Any = 0
        for rate, layer in zip((6, 12, 18, 24), network.aspp, strict=True):
            pyramid = pyramid + F.conv2d(features, layer.weight, layer.bias, padding=rate, dilation=rate)  # type: ignore[arg-type]
        assert pyramid.shape == (2, 4, *low)
        scores.append(pyramid)
    aligned = [F.interpolate(s, (9, 13), mode="bilinear", align_corners=True) for s in scores]
    fused = torch.maximum(torch.maximum(aligned[0], aligned[1]), aligned[2])
    found = network.forward_scales(image)
    assert [stride for _, stride in found] == [8, 8, 16, 8]
    for (ours, _), wanted in zip(found, [aligned[0], aligned[1], scores[2], fused], strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)
        assert wanted.std() > 0.05
    assert torch.equal(network.forward_unrefined(image), found[3][0])
    assert network.forward_scores(image)[1] == 8
    torch.testing.assert_close(network(image), upsample(found[3][0], 8, (65, 97)))
    assert all((aligned[i] == fused).any() for i in range(3))


@pytest.mark.parametrize("size", [(1, 1), (8, 9), (33, 47), (50, 36)])
def test_any_size(size: tuple[int, int]) -> None:
    network = deeplab(segaware_layers="aspp", embedding=ColorEmbedding())
    assert network(torch.rand(1, 3, *size)).shape == (1, 4, *size)
    label = torch.zeros(1, *size)
    for scores, stride in network.forward_scales(torch.rand(1, 3, *size)):
        assert scores.shape[2:] == label[0, ::stride, ::stride].shape


def test_a_pixel_has_its_scores_at_every_scale() -> None:
    """An image that is bright from some column on makes scores that change there, whichever scale has them."""
    network = deeplab()
    for layer in network.aspp:
        layer.weight.data[..., [0, 1, 1, 2], [1, 0, 2, 1]] = 0  # type: ignore[union-attr]
        layer.weight.data[..., ::2, ::2] = 0  # type: ignore[union-attr]
    image = torch.zeros(1, 3, 129, 257)
    image[..., 128:] = 1
    for scores, stride in network.forward_scales(image):
        jump = (scores[..., 1:] - scores[..., :-1]).abs().sum((0, 1, 2))
        centre = (jump * (torch.arange(len(jump)) + 0.5)).sum() / jump.sum() * stride
        assert abs(centre - 128) < 12, stride


@pytest.mark.parametrize(
    ("segaware", "aware"), [("none", []), ("aspp", ["aspp"] * 4), ("all", [*["trunk"] * 33, *["aspp"] * 4])]
)
def test_which_layers_are_segmentation_aware(segaware: Any, aware: list[str], image: Tensor) -> None:
    plain = deeplab()
    network = deeplab(segaware_layers=segaware, embedding=None if segaware == "none" else EmbeddingNet(0.0625, 2))
    found = [(n, m) for n, m in network.named_modules() if isinstance(m, SegAwareConv2d)]
    assert [name.split(".")[0] for name, _ in found] == aware
    assert all(m.kernel_size == (3, 3) for _, m in found)
    with_weights_of(plain, network)
    torch.testing.assert_close(network(image), plain(image), rtol=1e-3, atol=1e-3)
    for _, layer in found:
        layer.hardness.data.fill_(1.0)
    assert ((network(image) - plain(image)).abs().max() > 0.01) == bool(aware)


@pytest.mark.parametrize("stride_in", ["1x1", "3x3"])
def test_distances_are_computed_once_at_each_scale(
    stride_in: Any, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, original = [], segaware_conv.embedding_distance

    def count(embedding: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> Tensor:
        calls.append((embedding.shape[-1], stride[0], dilation[0]))
        return original(embedding, kernel_size, stride, padding, dilation)

    monkeypatch.setattr(segaware_conv, "embedding_distance", count)
    network = deeplab(segaware_layers="all", stride_in=stride_in, embedding=ColorEmbedding())
    network(image)
    steps = {"1x1": [(4, 1, 1), (8, 1, 1)], "3x3": [(4, 1, 1), (4, 2, 1), (8, 1, 1)]}[stride_in]
    steps += [(8, 1, d) for d in (2, 4, 6, 12, 18, 24)]
    assert calls == [(w // s + 1, stride, d) for w in (96, 72, 48) for s, stride, d in steps]


def test_masks_of_a_scale_are_those_of_its_own_embedding(image: Tensor) -> None:
    """At scale 3/4 a network with hard masks computes what it does on the image that was made so small."""
    network = deeplab(segaware_layers="aspp", hardness=1.0, embedding=ColorEmbedding())
    small = resample(image, Fraction(3, 4))
    wanted = network.forward_scales(small)[0][0]
    aligned = resample(wanted, Fraction(4, 3), (9, 13))
    torch.testing.assert_close(network.forward_scales(image)[1][0], aligned, rtol=1e-3, atol=1e-3)


def test_released_network(image: Tensor) -> None:
    network = DeepLabV2.released(4, 0.0625).eval()
    for layer in network.aspp:
        nn.init.normal_(layer.weight)  # type: ignore[arg-type]
    assert isinstance(network.embedding, ReleasedEmbedding)
    network.embedding.fuse.weight.data *= 1e-3  # so that neighbours count at such hardness
    assert not any(isinstance(m, SegAwareConv2d) for m in network.modules())
    assert {unit.conv1.stride for unit in [network.trunk.layer2[0]]} == {(2, 2)}  # type: ignore[index]
    fused = network.forward_unrefined(image)
    embedding = network.embedding(image)[:, :, ::2, ::2]
    crf = SegAwareCRF(4, hardness=20000.0, metric="sqeuclidean")
    smooth = BilateralFilter2d(9, iterations=2, hardness=50.0)
    wanted = smooth(crf(upsample(fused, 4, (33, 49)), embedding), embedding)
    refined, stride = network.forward_scores(image)
    assert stride == 2
    torch.testing.assert_close(refined, wanted)
    scales = network.forward_scales(image)
    assert [s for _, s in scales] == [8, 8, 16, 8, 2]
    torch.testing.assert_close(scales[-1][0], wanted)
    torch.testing.assert_close(network(image), upsample(wanted, 2, (65, 97)))


def test_batch_norm_is_frozen_or_trained(image: Tensor) -> None:
    frozen = deeplab().train()
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    torch.testing.assert_close(frozen(image), frozen.eval()(image))
    assert not any("bn" in name for name, _ in frozen.named_parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in frozen.state_dict().items())
    trained = deeplab(batch_norm="trained").train()
    with_weights_of(frozen, trained)(image)
    assert not torch.equal(trained.trunk.bn1.running_mean, frozen.trunk.bn1.running_mean)  # type: ignore[arg-type]


def test_every_parameter_is_trained() -> None:
    image = torch.rand(1, 3, 33, 417)  # so wide that dilation 24 stays within the scores of the smallest scale
    network = deeplab(
        segaware_layers="all",
        hardness=0.1,
        refinement=ScoreRefinement(4, filter_kernel_size=3, crf="segaware", crf_hardness=0.1),
        embedding=EmbeddingNet(0.0625, 2),
    )
    sum(scores.square().sum() for scores, _ in network.train().forward_scales(image)).backward()  # type: ignore[union-attr]
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segaware_layers": "fc6"}, "^segaware_layers must be one of .*'aspp'.*got 'fc6'"),
        ({"segaware_layers": "aspp"}, "^embedding is needed with segaware_layers='aspp'.*none was given"),
        ({"batch_norm": "sometimes"}, "^batch_norm must be one of .*got 'sometimes'"),
        ({"embedding": ColorEmbedding()}, "^embedding is not used with segaware_layers='none'"),
        ({"refinement": ScoreRefinement(3)}, "^refinement must be of 4 classes, as the network, got 3"),
        ({"refinement": ScoreRefinement(4, filter_stride=3)}, "^filter_stride must divide 8, got 3"),
        (
            {"refinement": ScoreRefinement(4, filter_kernel_size=3)},
            "^embedding is needed with .*filter_kernel_size=3 and crf='none'",
        ),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeepLabV2(4, 0.0625, **options)


def test_a_bad_image_is_named() -> None:
    with pytest.raises(ValueError, match=r"^image must be floating-point RGB"):
        deeplab()(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
