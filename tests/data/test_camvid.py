import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from segaware.data import CamVid, DataError, write_png

LABEL = np.array([[0, 10, 255], [3, 3, 4]], np.uint8)


@pytest.fixture
def root(tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / "camvid" / kind / "train").mkdir(parents=True)
    for name, red in (("0002", 250), ("0001", 50)):
        pixels = np.full((2, 3, 3), (red, 100, 100), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"camvid/images/train/{name}.jpg", quality=100)
        write_png(tmp_path / f"camvid/labels/train/{name}.png", LABEL)
    return tmp_path


def test_reads_pairs_in_order_of_name(root):
    dataset = CamVid(root, "train")
    assert [sample.name for sample in dataset] == ["0001", "0002"]
    np.testing.assert_array_equal(dataset[1].label.numpy(), LABEL)
    np.testing.assert_allclose(dataset[0].image[0].numpy() * 255, 50, atol=3)
    np.testing.assert_allclose(dataset[1].image[0].numpy() * 255, 250, atol=3)
    assert len(CamVid.classes) == CamVid.num_classes == 11
    assert (CamVid.classes[0], CamVid.classes[10]) == ("Sky", "Bicyclist")


def test_batches_and_transform(root):
    dataset = CamVid(root, "train", transform=lambda sample: sample._replace(label=sample.label * 0))
    batch = next(iter(DataLoader(dataset, batch_size=2)))
    assert batch.image.shape == (2, 3, 2, 3)
    assert batch.label.eq(0).all() and batch.label.shape == (2, 2, 3)
    assert list(batch.name) == ["0001", "0002"]


def test_construction_fails_before_the_first_access(root):
    with pytest.raises(DataError, match=r"val: no such folder"):
        CamVid(root, "val")
    with pytest.raises(ValueError, match="got 'test'"):
        CamVid(root, "test")
    (root / "camvid/labels/train/0001.png").unlink()
    with pytest.raises(DataError, match=r"0001\.png: no such file"):
        CamVid(root, "train")


def test_bad_label_is_named(root):
    path = root / "camvid/labels/train/0001.png"
    write_png(path, LABEL[:, :2].copy())
    with pytest.raises(DataError, match=r"0001\.png: the label's size 2x2 .* 2x3"):
        CamVid(root, "train")[0]
    write_png(path, LABEL + np.uint8(1))
    with pytest.raises(DataError, match=r"0001\.png: label value 11 .* 0\.\.10"):
        CamVid(root, "train")[0]


def test_a_mask_whose_objects_are_255_is_named(root):
    write_png(root / "camvid/labels/train/0001.png", np.where(LABEL > 0, np.uint8(255), np.uint8(0)))
    with pytest.raises(DataError, match=r"0001\.png: .* 0 and 255 alone"):
        CamVid(root, "train")[0]


def test_no_photograph_is_dropped_for_its_ending(root):
    images, labels = root / "camvid/images/train", root / "camvid/labels/train"
    (images / "0001.jpg").rename(images / "0001.JPG")
    (labels / "0001.png").rename(labels / "0001.PNG")
    for name in ("0003.jpeg", "0004.png"):
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(images / name)
        write_png((labels / name).with_suffix(".png"), LABEL)
    assert [sample.name for sample in CamVid(root, "train")] == ["0001", "0002", "0003", "0004"]
