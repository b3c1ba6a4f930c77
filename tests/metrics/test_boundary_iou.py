import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segaware.metrics import BoundaryIoU, boundary_counts, mean_boundary_iou

ONE_OF_TWO_PROCESSES = """
import sys
import torch
from segaware.metrics import BoundaryIoU
rank, rendezvous = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
metric = BoundaryIoU(2)
metric.update(torch.tensor([[[0, 1, 1]], [[0, 0, 1]]][rank]), torch.tensor([[[0, 0, 1]], [[0, 0, 1]]][rank]))
print(metric.compute().item(), *metric.per_class().tolist())
torch.distributed.destroy_process_group()
"""


def eroded_once(mask: np.ndarray) -> np.ndarray:
    """3x3 erosion, written out, with background outside the image."""
    height, width = mask.shape
    padded = np.pad(mask, 1)
    result = np.ones_like(mask)
    for row in range(3):
        for column in range(3):
            result &= padded[row : row + height, column : column + width]
    return result


def boundary(mask: np.ndarray, depth: int) -> np.ndarray:
    eroded = mask
    for _ in range(depth):
        eroded = eroded_once(eroded)
    return mask & ~eroded


def loop_counts(prediction: np.ndarray, target: np.ndarray, num_classes: int, depth: int) -> np.ndarray:
    void = target == 255
    counts = np.zeros((2, num_classes), np.int64)
    for index in range(num_classes):
        predicted, true = (boundary((labels == index) | void, depth) & ~void for labels in (prediction, target))
        counts[:, index] = (predicted & true).sum(), (predicted | true).sum()
    return counts


def blocks(seed: int, shape: tuple[int, int], num_classes: int) -> np.ndarray:
    """Labels in coarse blocks with a tenth of single pixels."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, num_classes, (shape[0] // 8 + 1, shape[1] // 8 + 1))
    label = coarse.repeat(8, 0).repeat(8, 1)[: shape[0], : shape[1]]
    return np.where(generator.random(shape) < 0.003, generator.integers(0, num_classes, shape), label)


def with_void(label: np.ndarray, seed: int) -> np.ndarray:
    """An outline between blocks, a large void rectangle, and single void pixels."""
    label = label.copy()
    label[1:][np.diff(label, axis=0) != 0] = 255
    label[3:9, :5] = 255
    label[np.random.default_rng(seed).random(label.shape) < 0.01] = 255
    return label


@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize(
    ("shape", "ratio", "depth"),
    # hypot(30, 40) = 50
    [((30, 40), 0.02, 1), ((30, 40), 0.001, 1), ((40, 30), 0.069, 3), ((30, 40), 0.1, 5), ((30, 40), 1.0, 50)],
)
def test_equals_repeated_erosion(shape: tuple[int, int], ratio: float, depth: int, void: bool) -> None:
    for seed in range(5):
        target = blocks(seed, shape, 4)
        prediction = np.where(np.random.default_rng(seed).random(shape) < 0.05, blocks(seed + 9, shape, 4), target)
        prediction = np.roll(prediction, 2, 1)
        target = with_void(target, seed) if void else target
        # One class more than there is, to be left out of the mean.
        counts = boundary_counts(torch.from_numpy(prediction), torch.from_numpy(target), 5, dilation_ratio=ratio)
        np.testing.assert_array_equal(counts.numpy(), loop_counts(prediction, target, 5, depth))
        assert counts.dtype == torch.int64 and 0 < counts[0].sum() < counts[1].sum()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3)])
def test_image_smaller_than_the_window(size: tuple[int, int]) -> None:
    target = torch.zeros(size, dtype=torch.int64)
    target[0, 0] = 1
    expected = loop_counts(np.zeros(size), target.numpy(), 2, 9)
    counts = boundary_counts(torch.zeros_like(target), target, 2, dilation_ratio=9 / math.hypot(*size))
    np.testing.assert_array_equal(counts.numpy(), expected)


def test_default_depth_is_two_percent_of_the_diagonal() -> None:
    target = torch.zeros(375, 500, dtype=torch.int64)
    # Diagonal 625: round(12.5) is 12 in Python, as in the authors' code.
    frame = 375 * 500 - (375 - 24) * (500 - 24)
    assert boundary_counts(target, target, 1).tolist() == [[frame], [frame]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_images_of_a_batch_stay_apart(dtype: torch.dtype) -> None:
    target = torch.from_numpy(np.stack([with_void(blocks(seed, (20, 30), 3), seed) for seed in range(3)])).to(dtype)
    prediction = torch.from_numpy(np.stack([blocks(seed + 5, (20, 30), 3) for seed in range(3)])).to(dtype)
    counts = boundary_counts(prediction, target, 3, dilation_ratio=0.1)
    assert counts.shape == (3, 2, 3)
    for image in range(3):
        assert torch.equal(counts[image], boundary_counts(prediction[image], target[image], 3, dilation_ratio=0.1))


def disc_with_outline() -> tuple[Tensor, Tensor]:
    """A disc in the truth, and the same labels with a void outline three pixels wide."""
    rows, columns = np.mgrid[:60, :80]
    radius = np.hypot(rows - 30, columns - 40)
    full = (radius < 18).astype(np.int64)
    return torch.from_numpy(full), torch.from_numpy(np.where(abs(radius - 18) < 1.5, 255, full))


def test_right_outside_void_is_perfect_whatever_void_holds() -> None:
    full, target = disc_with_outline()
    void = target == 255
    # round(0.06 * 100) = 6 pixels, more than the outline is wide.
    expected = boundary_counts(full, target, 2, dilation_ratio=0.06)
    assert torch.equal(expected[0], expected[1]) and (expected[0] > 0).all()
    noise = torch.randint(0, 300, target.shape, generator=torch.Generator().manual_seed(0))
    for guess in (full * 0, full * 0 + 1, noise):
        prediction = torch.where(void, guess, full)
        assert torch.equal(boundary_counts(prediction, target, 2, dilation_ratio=0.06), expected)


def test_void_away_from_contours_makes_no_contour() -> None:
    full, _ = disc_with_outline()
    target = full.clone()
    target[27:34, 37:44] = 255  # inside the disc, 10 pixels from its edge
    assert torch.equal(boundary_counts(full, target, 2, dilation_ratio=0.06), boundary_counts(full, full, 2, 255, 0.06))


def test_missed_object_is_no_boundary_found() -> None:
    full, target = disc_with_outline()
    intersection, union = boundary_counts(full * 0, target, 2, dilation_ratio=0.06)
    frame = 60 * 80 - 48 * 68
    assert intersection.tolist() == [frame, 0], "only the image's edge is in both"
    assert union[1] > 0 and union[0] > frame


def test_moved_object_is_worse_the_farther_it_moved() -> None:
    full, target = disc_with_outline()
    scores = [
        mean_boundary_iou(boundary_counts(full.roll(shift, 1), target, 2, dilation_ratio=0.06)) for shift in (0, 3, 6)
    ]
    assert scores[0] == 1.0 and scores[0] > scores[1] > scores[2]


def test_metric_sums_over_images_and_over_metrics() -> None:
    target = torch.from_numpy(np.stack([with_void(blocks(seed, (20, 30), 3), seed) for seed in range(3)]))
    prediction = torch.from_numpy(np.stack([blocks(seed + 5, (20, 30), 3) for seed in range(3)]))
    whole, left, right = BoundaryIoU(4), BoundaryIoU(4), BoundaryIoU(4)
    whole.update(prediction, target)
    left.update(prediction[0], target[0])
    right.update(prediction[1:], target[1:])
    left.merge_state(right)
    counts = sum(loop_counts(p, t, 4, 1) for p, t in zip(prediction.numpy(), target.numpy(), strict=True))
    np.testing.assert_allclose(whole.per_class()[:3].numpy(), counts[0, :3] / counts[1, :3])
    assert whole.per_class()[3].isnan() and whole.per_class().dtype == torch.float64
    assert whole.compute().item() == pytest.approx((counts[0, :3] / counts[1, :3]).mean())
    assert left.compute() == whole.compute()


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_TWO_PROCESSES, str(rank), str(tmp_path / "rendezvous")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=60)
        # In a row of three every pixel touches the image's edge: class 0 has 1 of 2 and 2 of 2, class 1 1 of 2 and 1.
        assert [float(word) for word in output.split()] == pytest.approx([(3 / 4 + 2 / 3) / 2, 3 / 4, 2 / 3])


def test_mean_of_a_batch_of_counts() -> None:
    counts = torch.tensor([[[3, 0, 0], [4, 2, 0]], [[1, 1, 1], [1, 2, 4]]])
    assert mean_boundary_iou(counts).tolist() == pytest.approx([(3 / 4 + 0) / 2, (1 + 1 / 2 + 1 / 4) / 3])
    with pytest.raises(ValueError, match=r"counts must have shape \(..., 2, C\), got \(3, 3\)"):
        mean_boundary_iou(torch.zeros(3, 3))


@pytest.mark.parametrize("ratio", [0.0, -0.1, float("nan"), float("inf")])
def test_bad_ratio_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="dilation_ratio must be positive and finite, got"):
        BoundaryIoU(2, dilation_ratio=ratio)
    with pytest.raises(ValueError, match="dilation_ratio must be positive and finite, got"):
        boundary_counts(torch.zeros(2, 2).long(), torch.zeros(2, 2).long(), 2, dilation_ratio=ratio)


def test_bad_labels_are_refused() -> None:
    flat = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"target must have shape \(H, W\) or \(N, H, W\), got \(4,\)"):
        boundary_counts(flat, flat, 2)
    with pytest.raises(ValueError, match="same shape"):
        boundary_counts(flat[None], flat[None, :3], 2)
    with pytest.raises(ValueError, match=r"prediction holds the value 2, wanted classes in 0\.\.1$"):
        boundary_counts(flat[None] + 2, flat[None], 2)
