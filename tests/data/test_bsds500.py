import numpy as np
import pytest
import torch
from PIL import Image

from segaware.data import BSDS500, DataError

# Annotator a calls the pixel at (row, column) region 1 + a + column.
SEGMENTS = np.broadcast_to(1 + np.arange(3)[:, None, None] + np.arange(4), (3, 2, 4)).astype(np.uint8)


@pytest.fixture
def root(tmp_path):
    for split in ("train", "val"):
        for kind in ("images", "segments"):
            (tmp_path / "bsds500" / kind / split).mkdir(parents=True)
        Image.fromarray(np.zeros((2, 4, 3), np.uint8)).save(tmp_path / f"bsds500/images/{split}/100.jpg")
        np.savez(tmp_path / f"bsds500/segments/{split}/100.npz", segments=SEGMENTS)
    return tmp_path


def test_val_is_always_the_first_annotator(root):
    dataset = BSDS500(root, "val")
    for _ in range(10):
        np.testing.assert_array_equal(dataset[0].label.numpy(), SEGMENTS[0] - 1)
    assert dataset[0].name == "100" and len(dataset) == 1
    assert BSDS500.num_classes is None and BSDS500.classes == ()


def test_train_draws_whole_annotators_from_torchs_generator(root):
    dataset = BSDS500(root, "train")

    def draw():
        torch.manual_seed(0)
        return [dataset[0].label.numpy() for _ in range(30)]

    first, second = draw(), draw()
    np.testing.assert_array_equal(first, second)
    assert {int(label[0, 0]) for label in first} == {0, 1, 2}
    for label in first:
        np.testing.assert_array_equal(label, SEGMENTS[label[0, 0]] - 1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"regions": SEGMENTS}, "no readable array 'segments'"),
        ({"segments": np.array([None, "pickled"], object)}, "no readable array 'segments'"),
        ({"segments": SEGMENTS[0]}, r"must be integers of shape \(annotators, H, W\), got uint8 \(2, 4\)"),
        ({"segments": SEGMENTS.astype(float)}, "must be integers"),
        ({"segments": SEGMENTS - np.uint8(1)}, r"must be numbered 1\.\.255, got 0\.\.5"),
        ({"segments": SEGMENTS.astype(np.uint16) * 100}, r"must be numbered 1\.\.255, got 100\.\.600"),
        ({"segments": SEGMENTS[:, :, :3]}, r"the label's size 2x3 .* 2x4"),
    ],
)
def test_bad_segments_are_named(root, arrays, message):
    np.savez(root / "bsds500/segments/val/100.npz", **arrays)
    with pytest.raises(DataError, match=r"100\.npz: .*" + message):
        BSDS500(root, "val")[0]


def test_broken_archive_is_named(root):
    path = root / "bsds500/segments/val/100.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"100\.npz: holds no readable"):
        BSDS500(root, "val")[0]


def test_largest_region_count_stays_clear_of_ignore(root):
    np.savez(root / "bsds500/segments/val/100.npz", segments=np.full((1, 2, 4), 255, np.int64))
    assert BSDS500(root, "val")[0].label.unique().tolist() == [254]


def test_construction_checks_files(root):
    (root / "bsds500/segments/val/100.npz").unlink()
    with pytest.raises(DataError, match=r"100\.npz: no such file"):
        BSDS500(root, "val")
    with pytest.raises(ValueError, match="got 'test'"):
        BSDS500(root, "test")


def test_no_photograph_is_dropped_for_its_ending(root):
    images, segments = root / "bsds500/images/val", root / "bsds500/segments/val"
    for name in ("101.JPG", "102.png"):
        Image.fromarray(np.zeros((2, 4, 3), np.uint8)).save(images / name)
    np.savez(segments / "102.npz", segments=SEGMENTS)
    (segments / "102.npz").rename(segments / "102.NPZ")
    np.savez(segments / "101.npz", segments=SEGMENTS)
    assert [sample.name for sample in BSDS500(root, "val")] == ["100", "101", "102"]
