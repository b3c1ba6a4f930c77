import numpy as np
import pytest
import torch
from torch import Tensor

from segaware.metrics import class_iou, confusion_matrix, mean_iou


def loop_confusion(prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int) -> np.ndarray:
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    for p, t in zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True):
        if t != ignore_index:
            counts[t, p] += 1
    return counts


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("shape", [(50,), (9, 7), (2, 1, 5, 6)])
def test_confusion_matrix_equals_a_loop(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    # 21 classes: 20 * 21 + 20 does not fit uint8.
    prediction = torch.randint(0, 21, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    target = torch.randint(0, 22, shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    target[target == 21] = 255
    counts = confusion_matrix(prediction, target, 21)
    assert counts.dtype == torch.int64
    np.testing.assert_array_equal(counts.numpy(), loop_confusion(prediction, target, 21, 255))


def test_ignore_index_may_be_a_class_or_negative() -> None:
    prediction, target = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])
    assert confusion_matrix(prediction, target, 2, ignore_index=0).tolist() == [[0, 0], [0, 1]]
    assert confusion_matrix(prediction, torch.tensor([0, -1, 0]), 2, ignore_index=-1).tolist() == [[1, 1], [0, 0]]


def test_prediction_on_void_is_not_looked_at() -> None:
    assert confusion_matrix(torch.tensor([255, 1]), torch.tensor([255, 1]), 2).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), r"same shape, got \(2,\) and \(3,\)"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int64), "prediction must hold integer classes, got torch.float32"),
        (torch.zeros(2, dtype=torch.int64), torch.zeros(2), "target must hold integer classes, got torch.float32"),
        (torch.tensor([0, 7]), torch.tensor([0, 0]), "prediction holds the value 7, wanted classes in 0..2$"),
        (torch.tensor([0, 0]), torch.tensor([0, 3]), "target holds the value 3, .* or ignore_index=255"),
        (torch.tensor([-1, 0]), torch.tensor([0, 0]), "prediction holds the value -1"),
    ],
)
def test_bad_input_is_named(prediction: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(prediction, target, 3)


def test_mean_iou_by_hand_leaves_out_classes_not_seen() -> None:
    confusion = torch.tensor([[6, 2, 0, 0], [1, 3, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    # Class 2 is never true but once predicted, so it counts as 0; class 3 does not exist here.
    expected = [6 / 9, 3 / 7, 0.0, float("nan")]
    np.testing.assert_allclose(class_iou(confusion).numpy(), expected)
    assert mean_iou(confusion).dtype == torch.float64
    assert mean_iou(confusion).item() == pytest.approx((6 / 9 + 3 / 7) / 3)


def test_mean_iou_of_a_batch_is_that_of_each_matrix() -> None:
    confusions = torch.randint(0, 9, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    expected = [[mean_iou(confusions[i, j]).item() for j in range(3)] for i in range(2)]
    np.testing.assert_array_equal(mean_iou(confusions).numpy(), expected)


def test_mean_iou_of_nothing_is_nan() -> None:
    assert mean_iou(torch.zeros(3, 3, dtype=torch.int64)).isnan()


def test_confusion_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match=r"confusion must have shape \(..., C, C\), got \(2, 3\)"):
        mean_iou(torch.zeros(2, 3))
