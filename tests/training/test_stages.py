"""The losses of the two stages, and what they do to a batch that spoils the training."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.data import Sample
from segaware.models import DeepLabV2, ScoreRefinement
from segaware.nn import ColorEmbedding, EmbeddingNet, FastEmbeddingNet, PairLoss
from segaware.training import EmbeddingStage, MultiscaleStage, Optimization, SegmentationStage
from segaware.training.optimization import polynomial

OPTIMIZATION = Optimization(torch.optim.SGD, partial(polynomial, power=0.9), 0.1)


def _sample(label: Tensor) -> Sample:
    images = torch.rand(len(label), 3, *label.shape[1:])
    return Sample(images, label, [f"image {i}" for i in range(len(label))])  # type: ignore[arg-type]


def test_embedding_loss_is_the_sum_over_scales() -> None:
    network, pair_loss = EmbeddingNet(width=0.125, dim=3), PairLoss()
    sample = _sample(torch.randint(0, 3, (2, 21, 30)))
    fused, scales = network.forward_scales(sample.image)
    assert [tuple(scale.shape[2:]) for scale in scales] == [(21, 30), (11, 15), (6, 8)]
    wanted = pair_loss(fused, sample.label)
    for stride, embedding in zip((1, 2, 4), scales, strict=True):
        height, width = embedding.shape[2:]
        label = [
            [[image[stride * r][stride * c] for c in range(width)] for r in range(height)] for image in sample.label
        ]
        wanted = wanted + pair_loss(embedding, torch.tensor(label))
    torch.testing.assert_close(EmbeddingStage(network, pair_loss, OPTIMIZATION).loss(sample), wanted)


def test_embedding_loss_of_a_network_without_scales_is_that_of_its_embedding() -> None:
    network, pair_loss = FastEmbeddingNet(0.125, dim=3), PairLoss()
    sample = _sample(torch.randint(0, 3, (2, 21, 30)))
    wanted = pair_loss(network(sample.image)[:, 3:], sample.label)  # what was learned, without colours
    assert torch.equal(EmbeddingStage(network, pair_loss, OPTIMIZATION).loss(sample), wanted)


def test_segmentation_loss_by_hand() -> None:
    label = torch.tensor([[[0, 1, 255], [2, 255, 1]], [[255, 255, 255], [255, 255, 0]]])
    sample, network = _sample(label), nn.Conv2d(3, 3, 1)
    scores = network(sample.image).tolist()
    terms = []
    for n, r, c in torch.nonzero(label != 255).tolist():
        pixel = [scores[n][k][r][c] for k in range(3)]
        terms.append(math.log(sum(map(math.exp, pixel))) - pixel[label[n, r, c]])
    assert len(terms) == 5
    loss = SegmentationStage(network, 3, OPTIMIZATION).loss(sample)
    assert loss.item() == pytest.approx(sum(terms) / 5, rel=1e-5)


@pytest.mark.parametrize("filter_kernel_size", [0, 3])
def test_multiscale_loss_is_the_sum_over_all_scores(filter_kernel_size: int) -> None:
    embedding = ColorEmbedding() if filter_kernel_size else None
    network = DeepLabV2(
        3, 0.0625, refinement=ScoreRefinement(3, filter_kernel_size=filter_kernel_size), embedding=embedding
    )
    label = torch.randint(0, 3, (2, 33, 49))
    label[:, :10] = 255
    sample = _sample(label)
    wanted = torch.zeros(())
    scales = network.forward_scales(sample.image)
    strides = [8, 8, 16, 8, 2] if filter_kernel_size else [8, 8, 16, 8]
    for (scores, _), stride in zip(scales, strides, strict=True):
        points = [[[image[r, c] for c in range(0, 49, stride)] for r in range(0, 33, stride)] for image in label]
        wanted = wanted + F.cross_entropy(scores, torch.tensor(points), ignore_index=255)
    torch.testing.assert_close(MultiscaleStage(network, 3, OPTIMIZATION).loss(sample), wanted)


@pytest.mark.parametrize("stage_name", ["embedding", "segmentation", "multiscale"])
def test_batch_without_labels_costs_nothing(stage_name: str) -> None:
    stage = (
        EmbeddingStage(EmbeddingNet(0.125, 3), PairLoss(), OPTIMIZATION)
        if stage_name == "embedding"
        else MultiscaleStage(DeepLabV2(3, 0.0625), 3, OPTIMIZATION)
        if stage_name == "multiscale"
        else SegmentationStage(nn.Conv2d(3, 3, 1), 3, OPTIMIZATION)
    )
    loss = stage.loss(_sample(torch.full((2, 9, 9), 255)))
    loss.backward()
    assert loss.item() == 0
    for name, parameter in stage.network.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_names_the_images(value: float) -> None:
    image, label = torch.rand(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)
    image[1, 0, 2, 2] = value
    stage = SegmentationStage(nn.Conv2d(3, 3, 1), 3, OPTIMIZATION)
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 0, in the batch of street 1, street 2; "):
        stage.training_step(Sample(image, label, ["street 1", "street 2"]), 0)  # type: ignore[arg-type]
