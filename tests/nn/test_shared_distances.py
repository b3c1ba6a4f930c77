"""SharedDistances computes every distance once."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from segaware.nn import (
    BilateralFilter2d,
    SegAwareConv2d,
    SharedDistances,
    bilateral_filter,
    segaware_conv,
    segaware_crf,
)
from segaware.nn.segaware_crf import SegAwareCRF


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The widths of the embeddings that distances have been computed from."""
    widths: list[int] = []

    def counted(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def count(embedding: Tensor, *args: object, **kwargs: object) -> Tensor:
            widths.append(embedding.shape[-1])
            return original(embedding, *args, **kwargs)

        return count

    for module in (segaware_conv, bilateral_filter, segaware_crf):
        monkeypatch.setattr(module, "embedding_distance", counted(module.embedding_distance))
    return widths


def test_layers_with_the_same_window_share_a_tensor(calls: list[int]) -> None:
    shared = SharedDistances(torch.randn(1, 4, 17, 19))
    first = shared(SegAwareConv2d(3, 8, 3, padding=1, hardness=1.0), stride=2)
    assert shared(SegAwareConv2d(8, 2, (3, 3), padding=(1, 1), groups=2, bias=False), stride=2) is first
    assert calls == [10]


def test_the_crf_shares_with_a_filter_of_its_window_and_metric(calls: list[int]) -> None:
    shared = SharedDistances(torch.randn(1, 4, 17, 19))
    crf, squared = (SegAwareCRF(3, 5, dilation=2, metric=m) for m in ("l1", "sqeuclidean"))
    assert shared(crf, 2) is shared(BilateralFilter2d(5, dilation=2), 2)
    assert shared(squared, 2) is not shared(crf, 2)
    torch.testing.assert_close(shared(squared, 2), squared.distance(shared.embedding[:, :, ::2, ::2]))
    assert calls == [10, 10, 10]


def test_another_window_or_resolution_has_its_own(calls: list[int]) -> None:
    embedding = torch.randn(1, 4, 17, 19)
    shared = SharedDistances(embedding)
    layers: list[tuple[SegAwareConv2d | BilateralFilter2d | SegAwareCRF, int]] = [
        (SegAwareConv2d(3, 8, 3, padding=1), 1),
        (SegAwareConv2d(3, 8, 3, padding=1), 4),
        (SegAwareConv2d(3, 8, 3, padding=2), 1),
        (SegAwareConv2d(3, 8, 3, padding=2, dilation=2), 1),
        (SegAwareConv2d(3, 8, 5, padding=2), 1),
        (SegAwareConv2d(3, 8, 3, padding=1, stride=2), 1),
        (BilateralFilter2d(3), 1),
        (BilateralFilter2d(3, dilation=2), 1),
        (BilateralFilter2d(5), 2),
        (SegAwareCRF(3, 5, dilation=3), 1),
    ]
    for _ in range(2):
        for layer, stride in layers:
            expected = layer.distance(embedding[:, :, ::stride, ::stride])
            calls.pop()
            torch.testing.assert_close(shared(layer, stride), expected)
    assert calls == [19, 5, 19, 19, 19, 19, 19, 19, 10, 19]


def test_a_layer_sees_the_embedding_of_its_own_pixels() -> None:
    embedding = torch.arange(9.0).view(1, 1, 1, 9)
    distance = SharedDistances(embedding)(SegAwareConv2d(1, 1, (1, 3), padding=(0, 1)), stride=4)
    assert distance[0, :, 0].tolist() == [[0, 4, 4], [0, 0, 0], [4, 4, 0]]


def test_at_a_size(calls: list[int]) -> None:
    embedding, layer = torch.randn(1, 4, 17, 19), SegAwareConv2d(3, 8, 3, padding=1)
    shared = SharedDistances(embedding)
    assert shared.at_size(layer, (5, 5)) is shared.at_size(SegAwareConv2d(8, 2, 3, padding=1), (5, 5))
    torch.testing.assert_close(shared.at_size(layer, (5, 5)), shared(layer, stride=4))
    assert shared.at_size(layer, (8, 9)) is not shared.at_size(layer, (8, 8))
    torch.testing.assert_close(shared.at_size(layer, (8, 10)), layer.distance(embedding[:, :, 1::2, ::2]))
    with torch.no_grad():
        frozen = shared.at_size(layer, (5, 5))
    assert frozen is not shared.at_size(layer, (5, 5))
    assert calls == [5, 5, 9, 8, 10, 10, 5]


def test_gradient_reaches_the_embedding() -> None:
    embedding = torch.randn(1, 4, 9, 9, requires_grad=True)
    shared, layer = SharedDistances(embedding), SegAwareConv2d(3, 8, 3, padding=1)
    (shared(layer, 4).sum() + shared(layer, 4).sum()).backward()
    assert embedding.grad is not None
    reached = embedding.grad.abs().sum((0, 1)) > 0
    assert reached[::4, ::4].all() and reached.sum() == 9


def test_another_layer_is_named() -> None:
    with pytest.raises(TypeError, match=r"^layer must be .*got Conv2d"):
        SharedDistances(torch.zeros(1, 2, 3, 3))(nn.Conv2d(1, 1, 3), stride=1)
