"""Label maps of every integer type, and without a label for unknown pixels."""

import numpy as np
import pytest
import torch

from segaware import PairLoss
from segaware.data import coarse_scores
from segaware.metrics import (
    BoundaryIoU,
    MeanIoU,
    TrimapIoU,
    border_distance,
    boundary_counts,
    confusion_matrix,
    trimap_confusion,
)
from segaware.viz import error_map

TYPES = [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int16, torch.int32]
GENERATOR = torch.Generator().manual_seed(0)
PREDICTION = torch.randint(0, 5, (2, 12, 15), generator=GENERATOR)
TARGET = torch.randint(0, 5, (2, 12, 15), generator=GENERATOR)
VOID = TARGET.where(torch.rand(TARGET.shape, generator=GENERATOR) < 0.8, 255)
FUNCTIONS = [
    lambda prediction, target, **how: confusion_matrix(prediction, target, 5, **how),
    lambda prediction, target, **how: trimap_confusion(prediction, target, 5, (1, 3), **how),
    lambda prediction, target, **how: boundary_counts(prediction, target, 5, **how),
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_integer_type_counts_alike(function, dtype):
    expected = function(PREDICTION, VOID)
    torch.testing.assert_close(function(PREDICTION.to(dtype), VOID.to(dtype)), expected)
    torch.testing.assert_close(function(PREDICTION, VOID.to(dtype)), expected)
    torch.testing.assert_close(border_distance(VOID.to(dtype)), border_distance(VOID))


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint64])
def test_void_borders_and_other_users_of_labels(dtype):
    how = {"half_widths": (1, 3), "border": "void"}
    torch.testing.assert_close(
        trimap_confusion(PREDICTION.to(dtype), VOID.to(dtype), 5, **how), trimap_confusion(PREDICTION, VOID, 5, **how)
    )
    embedding = torch.rand(2, 3, 12, 15, generator=GENERATOR)
    torch.testing.assert_close(PairLoss()(embedding, VOID.to(dtype)), PairLoss()(embedding, VOID))
    torch.testing.assert_close(coarse_scores(VOID.to(dtype), 5, noise=0), coarse_scores(VOID, 5, noise=0))


def test_small_types_with_an_ignore_index_that_they_cannot_hold():
    target = TARGET.byte()
    target[0, 0, 0] = 0
    for index in (-1, -100, 256, 65536):
        torch.testing.assert_close(confusion_matrix(target, target, 5, index).sum(), torch.tensor(target.numel()))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.uint16])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_an_ignore_index_every_pixel_counts(function, dtype):
    prediction, target = PREDICTION.to(dtype), TARGET.to(dtype)
    torch.testing.assert_close(function(prediction, target, ignore_index=None), function(PREDICTION, TARGET))
    with pytest.raises(ValueError, match=r"target holds the value 255, wanted classes in 0\.\.4$"):
        function(prediction, VOID.to(dtype), ignore_index=None)


@pytest.mark.parametrize("metric", [MeanIoU, lambda *args, **how: TrimapIoU(*args, **how), BoundaryIoU])
def test_metrics_without_an_ignore_index(metric):
    without, usual = metric(5, ignore_index=None), metric(5)
    for one in (without, usual):
        one.update(PREDICTION, TARGET)
    torch.testing.assert_close(without.compute(), usual.compute())


def test_void_borders_need_a_label_for_void():
    with pytest.raises(ValueError, match="border='void' needs pixels of ignore_index=None"):
        trimap_confusion(PREDICTION, TARGET, 5, (1,), ignore_index=None, border="void")


def test_the_pair_loss_without_an_ignore_index():
    embedding = torch.rand(2, 3, 12, 15, generator=GENERATOR)
    unused = PairLoss(ignore_index=-7)
    torch.testing.assert_close(PairLoss(ignore_index=None)(embedding, VOID), unused(embedding, VOID))
    assert PairLoss(ignore_index=None)(embedding, VOID) != PairLoss()(embedding, VOID)


def test_the_error_map_without_an_ignore_index():
    prediction, target = np.array([[0, 255]]), np.array([[1, 255]])
    assert error_map(prediction, target, None).tolist() == [[[214, 39, 40], [232, 232, 232]]]
