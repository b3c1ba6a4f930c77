"""What all networks refuse: arguments beyond sense, images of another kind or on another device."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from segaware.models import DeepLabLargeFOV, DeepLabV2, FlowNetC, FlowNetS, ScoreRefinement, SegAwareFlowNetS, Sharpener
from segaware.nn import ColorEmbedding, EmbeddingNet, ReleasedEmbedding

WITH_WIDTH: dict[str, Callable[..., nn.Module]] = {
    "DeepLabLargeFOV": lambda **given: DeepLabLargeFOV(2, **given),
    "DeepLabV2": lambda **given: DeepLabV2(2, **given),
    "FlowNetS": FlowNetS,
    "FlowNetC": FlowNetC,
    "SegAwareFlowNetS": lambda **given: SegAwareFlowNetS(embedding=ColorEmbedding(), **given),
    "EmbeddingNet": EmbeddingNet,
    "ReleasedEmbedding": ReleasedEmbedding,
}


@pytest.mark.parametrize("width", [0.0, -1.0, math.inf, -math.inf, math.nan, 1e9, 17, None, "1", True])
@pytest.mark.parametrize("network", WITH_WIDTH)
def test_a_width_beyond_sense_is_named(network: str, width: Any) -> None:
    with pytest.raises(ValueError, match=r"^width must (leave at least one channel of 64|be at most 16), got "):
        WITH_WIDTH[network](width=width)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda n: DeepLabLargeFOV(n, width=1 / 64), "num_classes"),
        (lambda n: DeepLabV2(n, width=1 / 64), "num_classes"),
        (lambda n: DeepLabV2(n, width=1 / 64, refinement=ScoreRefinement(2)), "num_classes"),
        (ScoreRefinement, "num_classes"),
        (lambda n: DeepLabLargeFOV(2, width=1 / 64, fc_width=n), "fc_width"),
        (lambda n: DeepLabLargeFOV(2, width=1 / 64, fc6_dilation=n), "fc6_dilation"),
        (lambda n: EmbeddingNet(1 / 64, dim=n), "dim"),
    ],
)
@pytest.mark.parametrize("count", [0, -1, 10**12, 2.0, math.inf, True, None])
def test_a_count_beyond_sense_is_named(make: Callable[[Any], nn.Module], name: str, count: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be (an int of )?at (least 1|most \d+), got "):
        make(count)


@pytest.mark.parametrize("displacement", [256, 10**9, 2.5])
def test_a_displacement_beyond_sense_is_named(displacement: Any) -> None:
    with pytest.raises(ValueError, match=r"^max_displacement must be an int of at (least 0|most 255), got "):
        FlowNetC(1 / 64, max_displacement=displacement)


@pytest.mark.parametrize("dropout", [1, 1.0, 1.5, -0.1, math.nan, None])
def test_a_dropout_that_leaves_nothing_is_named(dropout: Any) -> None:
    with pytest.raises(ValueError, match=r"^dropout must be at least 0 and less than 1, .*got "):
        DeepLabLargeFOV(2, width=1 / 64, dropout=dropout)


def test_integers_of_numpy_are_integers() -> None:
    two = np.int64(2)
    network = DeepLabLargeFOV(two, width=1 / 64, fc6_dilation=two, refinement=ScoreRefinement(two, filter_stride=two))
    assert type(network.num_classes) is int
    assert FlowNetC(1 / 64, max_displacement=two).max_displacement == 2
    assert EmbeddingNet(1 / 64, dim=two).dim == 2


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "DeepLabLargeFOV": (lambda: DeepLabLargeFOV(2, width=1 / 64), 1),
    "DeepLabV2": (lambda: DeepLabV2(2, width=1 / 64), 1),
    "EmbeddingNet": (lambda: EmbeddingNet(1 / 64, dim=2), 1),
    "ColorEmbedding": (ColorEmbedding, 1),
    "FlowNetS": (lambda: FlowNetS(1 / 64), 2),
}
IMAGE = torch.rand(1, 3, 9, 9)


@pytest.mark.parametrize("image", [IMAGE.numpy(), None, [1.0]])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_that_is_no_tensor_is_named(name: str, image: Any) -> None:
    make, count = NETWORKS[name]
    with pytest.raises(TypeError, match=r"^image1? must be floating-point RGB .*, got (ndarray|NoneType|list)$"):
        make()(*[image] * count)


@pytest.mark.parametrize(
    "image",
    [IMAGE.to(torch.float8_e4m3fn), IMAGE.to_sparse(), (255 * IMAGE).byte(), IMAGE[:, :2], IMAGE[..., :0], IMAGE[0]],
)
@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_of_another_kind_is_named(name: str, image: torch.Tensor) -> None:
    make, count = NETWORKS[name]
    with pytest.raises(ValueError, match=r"^image1? must be floating-point RGB .*, got .*torch\."):
        make()(*[image] * count)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "ColorEmbedding"])  # which has no parameters
def test_an_image_on_another_device_than_the_network_is_named(name: str) -> None:
    make, count = NETWORKS[name]
    with pytest.raises(ValueError, match=r"^image and the network must be on the same device, got image on meta and "):
        make()(*[IMAGE.to("meta")] * count)


def test_two_images_on_two_devices_are_named() -> None:
    with pytest.raises(ValueError, match=r"^image1 and image2 must be on the same device, got image1 on cpu"):
        FlowNetS(1 / 64)(IMAGE, IMAGE.to("meta"))


def test_scores_for_a_sharpener_are_checked() -> None:
    sharpen = Sharpener(ScoreRefinement(2, filter_kernel_size=3), ColorEmbedding())
    scores = torch.rand(1, 2, 2, 2)
    with pytest.raises(ValueError, match=r"^image and scores must be on the same device, got image on cpu and scores"):
        sharpen(IMAGE, scores.to("meta"), 8)
    with pytest.raises(TypeError, match=r"^scores must be .*, got ndarray"):
        sharpen(IMAGE, scores.numpy(), 8)
    with pytest.raises(ValueError, match=r"^scores must have at least 1 channel"):
        sharpen(IMAGE, scores[:, :0], 8)
    with pytest.raises(ValueError, match=r"^stride must be an int of at least 1, got 0"):
        sharpen(IMAGE, scores, 0)
