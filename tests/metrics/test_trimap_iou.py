import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from segaware.metrics import TrimapIoU, border_distance, confusion_matrix, mean_iou, trimap_confusion


def voc_like_label(size: int = 40, seed: int = 0) -> np.ndarray:
    """Random discs of random classes with a void (255) outline between any two labels."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    label = np.zeros((size, size), dtype=np.uint8)
    for _ in range(4):
        row, column, radius = generator.uniform([0, 0, 3], [size, size, size / 4])
        label[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = generator.integers(1, 5)
    outline = ndimage.maximum_filter(label, 3) != ndimage.minimum_filter(label, 3)
    return np.where(outline, 255, label).astype(np.uint8)


def loop_border_distance(label: np.ndarray) -> np.ndarray:
    height, width = label.shape
    border = [
        (i, j)
        for i in range(height)
        for j in range(width)
        if (label[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] != label[i, j]).any()
    ]
    return np.array(
        [
            [min((max(abs(i - r), abs(j - c)) + 1 for r, c in border), default=height + width) for j in range(width)]
            for i in range(height)
        ]
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_border_distance_equals_a_loop(dtype: torch.dtype) -> None:
    label = voc_like_label(16)[:12]
    label[label == 255] = 2  # borders between classes that touch
    distance = border_distance(torch.from_numpy(label).to(dtype))
    assert distance.dtype == torch.int64
    np.testing.assert_array_equal(distance.numpy(), loop_border_distance(label))


def test_border_distance_of_a_batch_keeps_images_apart() -> None:
    labels = torch.zeros(2, 3, 5, dtype=torch.int64)
    labels[1, :, 4] = 1
    distance = border_distance(labels)
    assert (distance[0] == 3 + 5).all(), "no border at all"
    assert distance[1].tolist() == [[4, 3, 2, 1, 1]] * 3


@pytest.mark.parametrize("half_width", [1, 2, 3, 10])
@pytest.mark.parametrize("kind", ["outlines", "single void pixels"])
def test_band_is_the_dilated_void_outline_without_the_void(half_width: int, kind: str) -> None:
    if kind == "outlines":
        label = voc_like_label()
    else:
        label = np.where(np.random.default_rng(0).random((40, 40)) < 0.003, 255, 1).astype(np.uint8)
    void = label == 255
    expected = ndimage.binary_dilation(void, np.ones((2 * half_width + 1, 2 * half_width + 1))) & ~void
    assert expected.any()
    band = (border_distance(torch.from_numpy(label)).numpy() <= half_width) & ~void
    np.testing.assert_array_equal(band, expected)


def labels_and_predictions() -> tuple[Tensor, Tensor]:
    target = torch.from_numpy(np.stack([voc_like_label(seed=seed) for seed in range(3)])).long()
    guess = torch.randint(0, 5, target.shape, generator=torch.Generator().manual_seed(0))
    return torch.where(guess < 2, guess, target.clamp(max=4)), target


def test_trimap_confusion_counts_each_band_alone() -> None:
    prediction, target = labels_and_predictions()
    counts = trimap_confusion(prediction, target, 5, half_widths=(1, 3, 10, 99))
    distance = np.stack([loop_border_distance(image) for image in target.numpy()])
    for width, count in zip((1, 3, 10), counts, strict=False):
        band = torch.from_numpy(distance <= width)
        assert torch.equal(count, confusion_matrix(prediction[band], target[band], 5))
    assert torch.equal(counts[3], confusion_matrix(prediction, target, 5)), "a band wider than the image is everything"


@pytest.mark.parametrize("half_width", [1, 2, 7])
def test_void_band_is_the_dilated_void_alone(half_width: int) -> None:
    prediction, target = labels_and_predictions()
    target[:, 10:20, 10:20] = 1
    target[:, 20:30, 10:20] = 2  # borders without an outline, and a void region that is no outline
    target[0, 35:, :10] = 255
    void = target.numpy() == 255
    square = np.ones((1, 2 * half_width + 1, 2 * half_width + 1))
    band = torch.from_numpy(ndimage.binary_dilation(void, square) & ~void)
    counts = trimap_confusion(prediction, target, 5, (half_width,), border="void")
    assert torch.equal(counts[0], confusion_matrix(prediction[band], target[band], 5))
    assert not torch.equal(counts, trimap_confusion(prediction, target, 5, (half_width,)))
    metric = TrimapIoU(5, (half_width,), border="void")
    metric.update(prediction, target)
    assert torch.equal(metric.confusion, counts)


def test_both_borders_agree_where_every_border_has_an_outline() -> None:
    prediction, target = labels_and_predictions()
    widths = range(1, 41)
    expected = trimap_confusion(prediction, target, 5, widths)
    assert torch.equal(trimap_confusion(prediction, target, 5, widths, border="void"), expected)


def test_void_border_follows_ignore_index() -> None:
    target = torch.tensor([[0, 0, 0, 1, 1]])
    counts = trimap_confusion(target, target, 2, (1,), ignore_index=1, border="void")
    assert counts.tolist() == [[[1, 0], [0, 0]]]


def test_image_without_outlines_is_refused_for_void_borders() -> None:
    prediction, target = labels_and_predictions()
    target[1] = target[1].clamp(max=4)
    with pytest.raises(ValueError, match=r"image 1 has none; use border='any' for labels without outlines"):
        trimap_confusion(prediction, target, 5, (1, 3), border="void")
    metric = TrimapIoU(5, border="void")
    with pytest.raises(ValueError, match=r"ignore_index=255 .* image 0 has none"):
        metric.update(prediction[1], target[1])


def test_unknown_border_is_refused() -> None:
    flat = torch.zeros(3, 3, dtype=torch.int64)
    for call in (lambda: TrimapIoU(2, border="all"), lambda: trimap_confusion(flat, flat, 2, (1,), border="all")):
        with pytest.raises(ValueError, match="border must be 'any' or 'void', got 'all'"):
            call()


def test_image_without_border_has_empty_bands() -> None:
    flat = torch.zeros(6, 6, dtype=torch.int64)
    assert trimap_confusion(flat, flat, 2, half_widths=(1, 10)).sum() == 0


def test_metric_sums_over_images_and_over_metrics() -> None:
    prediction, target = labels_and_predictions()
    whole, left, right = (TrimapIoU(5, half_widths=(1, 3)) for _ in range(3))
    whole.update(prediction, target)
    left.update(prediction[0], target[0])
    right.update(prediction[1:], target[1:])
    left.merge_state(right)
    expected = mean_iou(sum(trimap_confusion(p, t, 5, (1, 3)) for p, t in zip(prediction, target, strict=True)))
    assert expected[0] != expected[1]
    assert torch.equal(whole.compute(), expected)
    assert torch.equal(left.compute(), expected)


def test_half_widths_of_numpy_are_integers() -> None:
    label = torch.tensor([[0, 0, 0, 1]])
    for half_widths in (np.array([1, 3]), [np.int64(1), np.uint8(3)]):
        assert torch.equal(trimap_confusion(label, label, 2, half_widths), trimap_confusion(label, label, 2, (1, 3)))
        assert TrimapIoU(2, half_widths).half_widths == (1, 3)


@pytest.mark.parametrize("half_widths", [(), (0, 1), (3, 1), (2, 2), (1.5, 3), (True, 3)])
def test_bad_half_widths_are_refused(half_widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="half_widths must be positive, strictly increasing integers, got"):
        TrimapIoU(2, half_widths=half_widths)


def test_bad_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"label must have shape \(H, W\) or \(N, H, W\), got \(4,\)"):
        border_distance(torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="label must hold integer classes"):
        border_distance(torch.zeros(4, 4))
    flat = torch.full((4,), 255)
    with pytest.raises(ValueError, match=r"label must have shape \(H, W\) or \(N, H, W\), got \(4,\)"):
        trimap_confusion(flat, flat, 2, (1,), border="void")
