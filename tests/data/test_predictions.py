from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from segaware.data import (
    ColorJitter,
    Compose,
    DataError,
    PredictedSample,
    RandomCrop,
    RandomFlip,
    RandomScale,
    dataset,
    write_png,
)
from segaware.data.predictions import resample_scores

from .test_everyday import write_set

MASK = np.pad(np.ones((8, 10), np.uint8), 8)  # 24x26


def write_probability(root: Path, place: str, probability: np.ndarray, name: str = "a") -> Path:
    path = root / "predictions" / place / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.round(255 * probability).astype(np.uint8))
    return path


def interpolated(values: np.ndarray, row: float, column: float) -> np.ndarray:
    """Values (C, h, w) at a place, beyond the outermost those of the outermost."""
    row, column = (min(max(x, 0), n - 1) for x, n in zip((row, column), values.shape[1:], strict=True))
    i, j = min(int(row), values.shape[1] - 2), min(int(column), values.shape[2] - 2)
    a, b = row - i, column - j
    top = (1 - b) * values[:, i, j] + b * values[:, i, j + 1]
    bottom = (1 - b) * values[:, i + 1, j] + b * values[:, i + 1, j + 1]
    return (1 - a) * top + a * bottom


def test_scores_lie_on_the_pixels_of_the_scaled_photograph():
    scores = np.random.default_rng(0).normal(size=(3, 4, 5))
    ours = resample_scores(torch.tensor(scores).float(), (30, 37), (49, 65), stride=16).numpy()
    for row, column in [(0, 0), (7, 9), (29, 36), (15, 20)]:
        place = (((row + 0.5) * 49 / 30 - 0.5) / 16, ((column + 0.5) * 65 / 37 - 0.5) / 16)
        np.testing.assert_allclose(ours[:, row, column], interpolated(scores, *place), atol=1e-5)


def test_probabilities_are_interpolated_by_pixel_centres_before_they_become_logits(tmp_path):
    write_set(tmp_path, "ecssd", MASK, "val")
    probability = np.random.default_rng(0).integers(0, 256, (12, 16)) / 255
    write_probability(tmp_path, "u2netp/everyday/val/ecssd", probability)
    (sample,) = dataset("u2netp_ecssd", "predictions").open("val", tmp_path)
    assert isinstance(sample, PredictedSample) and sample.name == "a"
    assert sample.scores.shape == (2, 24, 26) and sample.scores.dtype == torch.float32
    np.testing.assert_array_equal(sample.label, MASK)
    theirs = torch.nn.functional.interpolate(torch.tensor(probability)[None, None], (24, 26), mode="bilinear")[0, 0]
    expected = theirs.clamp(1e-3, 1 - 1e-3).float()
    torch.testing.assert_close(sample.scores.softmax(0)[1], expected, atol=1e-5, rtol=0)


def test_a_coarser_network_gives_means_of_squares(tmp_path):
    write_set(tmp_path, "ecssd", np.ones((2, 3), np.uint8), "val")
    probability = np.kron([[0.2, 0.4, 0.6], [0.8, 0.4, 0.2]], np.full((8, 8), 1.0))
    probability[::2] += 0.1
    probability[1::2] -= 0.1
    write_probability(tmp_path, "u2netp/everyday/val/ecssd", probability)
    (sample,) = dataset("u2netp_ecssd_40").open("val", tmp_path)
    expected = torch.tensor([[0.2, 0.4, 0.6], [0.8, 0.4, 0.2]])
    torch.testing.assert_close(sample.scores.softmax(0)[1], expected, atol=0.005, rtol=0)


def test_people_are_all_that_is_not_ground(tmp_path):
    write_set(tmp_path, "pedestrians", np.array([[0, 1, 5, 255]], np.uint8))
    write_probability(tmp_path, "selfie/everyday/train/pedestrians", np.ones((2, 4)))
    (sample,) = dataset("selfie_pedestrians").open("train", tmp_path)
    assert sample.label.tolist() == [[0, 1, 1, 255]]
    assert sample.scores.argmax(0).tolist() == [[1] * 4]


def write_voc(root: Path, names: list[str]) -> None:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / "voc_official_val" / folder).mkdir(parents=True)
    (root / "voc_official_val/ImageSets/Segmentation/val.txt").write_text("\n".join(names))
    for name in names:
        Image.fromarray(np.zeros((24, 26, 3), np.uint8)).save(root / f"voc_official_val/JPEGImages/{name}.jpg")
        write_png(root / f"voc_official_val/SegmentationClass/{name}.png", 15 * MASK)


def test_logits_of_voc_are_those_that_were_rounded(tmp_path):
    write_voc(tmp_path, ["a", "b"])
    folder = tmp_path / "predictions/deeplabv3_mnv2/voc_official_val"
    folder.mkdir(parents=True)
    q = np.full((21, 4, 4), 40, np.uint8)
    q[15] = 60
    np.savez(folder / "b.npz", q=q, zero_point=np.int32(30), scale=np.float32(0.5), size=np.array([48, 52]))
    samples = dataset("deeplabv3_voc").open("val", tmp_path)
    assert [sample.name for sample in samples] == ["b"]  # of the other there is no prediction
    assert samples[0].scores.shape == (21, 24, 26)
    expected = torch.full((21, 24, 26), 5.0)
    expected[15] = 15
    torch.testing.assert_close(samples[0].scores, expected)
    np.savez(folder / "b.npz", q=q[:20], zero_point=np.int32(30), scale=np.float32(0.5), size=np.array([48, 52]))
    with pytest.raises(DataError, match=r"b.npz: 'q' must be logits of 21 classes"):
        samples[0]
    np.savez(folder / "b.npz", q=q)
    with pytest.raises(DataError, match=r"b.npz: cannot be read as logits"):
        samples[0]


def test_transforms_move_scores_with_labels(tmp_path):
    write_set(tmp_path, "ecssd", MASK, "val")
    write_probability(tmp_path, "u2netp/everyday/val/ecssd", MASK.astype(float))
    transform = Compose([RandomScale(1.5, 1.5), RandomCrop(40, 30), RandomFlip(0.5), ColorJitter(0.2)])
    samples = dataset("u2netp_ecssd").open("val", tmp_path, transform)
    torch.manual_seed(0)
    for _ in range(8):
        (batch,) = DataLoader(samples)
        assert isinstance(batch, PredictedSample)
        known = batch.label != 255
        assert batch.scores.shape == (1, 2, 40, 30) and (~known).sum() == 4 * 30
        assert (batch.scores.permute(0, 2, 3, 1)[~known] == 0).all()
        wrong = (batch.scores.argmax(1) != batch.label) & known
        assert wrong.float().mean() < 0.03  # nearest and bilinear differ at the border


def test_mistakes(tmp_path):
    write_set(tmp_path, "ecssd", MASK, "val")
    record = dataset("u2netp_ecssd")
    with pytest.raises(DataError, match=r"u2netp.everyday.val.ecssd: no such folder.*wants everyday/val/ecssd"):
        record.open("val", tmp_path)
    path = write_probability(tmp_path, "u2netp/everyday/val/ecssd", np.ones((4, 4)), "stranger")
    with pytest.raises(DataError, match=r"stranger.png: there is no photograph of this name; 1 have none"):
        record.open("val", tmp_path)
    path = path.replace(path.with_name("a.png"))
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    with pytest.raises(DataError, match=r"a.png: probabilities must be 8-bit gray, .* got RGB \(4, 4, 3\)"):
        record.open("val", tmp_path)[0]
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a.png: cannot be read as an image"):
        record.open("val", tmp_path)[0]
    write_probability(tmp_path, "u2netp/everyday/val/ecssd", np.ones((4, 4)))
    with pytest.raises(DataError, match=r"at least 8 pixels, got L \(4, 4\)"):
        dataset("u2netp_ecssd_40").open("val", tmp_path)[0]
