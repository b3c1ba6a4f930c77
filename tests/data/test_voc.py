from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segaware.data import VOC, VOC_ANIMALS, VOC_CLASSES, DataError, dataset, write_png
from segaware.data.voc import voc_folder

OWN = np.array([[0, 8, 255], [15, 15, 17]], np.uint8)
EXTRA = np.array([[0, 1, 1], [12, 20, 0]], np.uint8)


def write_voc(folder: Path) -> None:
    """Three photographs, one of them with an extra mask only."""
    for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for name, red in (("2007_2", 250), ("2007_1", 50), ("2008_1", 120)):
        Image.fromarray(np.full((2, 3, 3), (red, 100, 100), np.uint8)).save(folder / f"JPEGImages/{name}.jpg")
        write_png(folder / f"SegmentationClassAug/{name}.png", EXTRA)
    for name in ("2007_1", "2007_2"):
        write_png(folder / f"SegmentationClass/{name}.png", OWN, dataset("voc").palette)
    (folder / "ImageSets/Segmentation/train.txt").write_text("2008_1\n2007_1\n")
    (folder / "ImageSets/Segmentation/val.txt").write_text("2007_2\n")


@pytest.fixture
def root(tmp_path):
    write_voc(tmp_path / "voc")
    return tmp_path


def test_reads_the_names_of_the_list_in_its_order(root):
    train, val = VOC(root, "train"), VOC(root, "val")
    assert [sample.name for sample in train] == ["2008_1", "2007_1"]
    assert [sample.name for sample in val] == ["2007_2"]
    np.testing.assert_array_equal(val[0].label.numpy(), OWN)
    np.testing.assert_allclose(train[1].image[0].numpy() * 255, 50, atol=3)


def test_own_mask_goes_before_the_extra_one(root):
    train = VOC(root, "train")
    np.testing.assert_array_equal(train[0].label.numpy(), EXTRA)
    np.testing.assert_array_equal(train[1].label.numpy(), OWN)


def test_kept_classes_have_new_indices_and_others_become_void(root):
    train = dataset("voc_animals").open("train", root)
    np.testing.assert_array_equal(train[1].label.numpy(), [[0, 1, 255], [5, 5, 6]])
    np.testing.assert_array_equal(train[0].label.numpy(), [[0, 255, 255], [3, 255, 0]])
    assert [VOC_CLASSES.index(name) for name in VOC_ANIMALS] == [0, 8, 10, 12, 13, 15, 17]
    palette, own = dataset("voc_animals").palette, dataset("voc").palette
    assert (palette[1] == own[8]).all() and (palette[6] == own[17]).all() and not palette[7:].any()


def test_the_archives_own_folder_is_found(tmp_path):
    write_voc(tmp_path / "VOCdevkit" / "VOC2012")
    assert len(VOC(tmp_path, "train")) == 2
    (tmp_path / "voc").mkdir()
    assert voc_folder(tmp_path) == tmp_path / "voc"


def test_transform(root):
    assert VOC(root, "val", lambda sample: sample._replace(label=sample.label * 0))[0].label.eq(0).all()


def test_what_is_missing_is_told_at_construction(root, tmp_path):
    with pytest.raises(DataError, match=r"nowhere.voc: no such folder, nor .*VOCdevkit.VOC2012"):
        VOC(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="split must be 'train' or 'val', got 'test'"):
        VOC(root, "test")
    with pytest.raises(ValueError, match=r"classes must be among VOC's .*, got 'unicorn'"):
        VOC(root, "train", classes=("cat", "unicorn"))
    (root / "voc/SegmentationClassAug/2008_1.png").unlink()
    with pytest.raises(DataError, match=r"2008_1\.png: no such file, but the list of train names it; 1 are missing"):
        VOC(root, "train")
    (root / "voc/ImageSets/Segmentation/val.txt").write_text("\n")
    with pytest.raises(DataError, match=r"val\.txt: names no image"):
        VOC(root, "val")
    (root / "voc/ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(DataError, match=r"val\.txt: no such file"):
        VOC(root, "val")


def test_bad_mask_is_named(root):
    write_png(root / "voc/SegmentationClass/2007_2.png", np.full((2, 3), 21, np.uint8))
    with pytest.raises(DataError, match=r"2007_2\.png: label value 21 at row 0, column 0"):
        VOC(root, "val")[0]
    write_png(root / "voc/SegmentationClass/2007_2.png", np.zeros((3, 2), np.uint8))
    with pytest.raises(DataError, match=r"2007_2\.png: the label's size 3x2"):
        VOC(root, "val")[0]


def test_a_mask_whose_objects_are_255_is_named(root):
    write_png(root / "voc/SegmentationClass/2007_2.png", np.where(OWN > 0, np.uint8(255), np.uint8(0)))
    with pytest.raises(DataError, match=r"2007_2\.png: .* 0 and 255 alone"):
        VOC(root, "val")[0]


def test_photographs_may_have_any_ending_in_any_case(root):
    folder = root / "voc"
    (folder / "JPEGImages/2007_2.jpg").rename(folder / "JPEGImages/2007_2.JPG")
    (folder / "SegmentationClass/2007_2.png").rename(folder / "SegmentationClass/2007_2.PNG")
    (folder / "SegmentationClassAug/2008_1.png").rename(folder / "SegmentationClassAug/2008_1.PNG")
    write_png(folder / "JPEGImages/2008_1.png", np.full((2, 3, 3), 7, np.uint8))
    (folder / "JPEGImages/2008_1.jpg").unlink()
    assert VOC(root, "val")[0].label[0, 2] == 255
    np.testing.assert_allclose(VOC(root, "train")[0].image.numpy() * 255, 7, atol=0.1)
    np.testing.assert_array_equal(VOC(root, "train")[0].label.numpy(), EXTRA)
    (folder / "JPEGImages/2007_1.jpeg").touch()
    with pytest.raises(DataError, match=r"2007_1\.jpeg and .*2007_1\.jpg have the same name"):
        VOC(root, "train")


def test_a_list_that_is_no_text_is_named(root):
    (root / "voc/ImageSets/Segmentation/val.txt").write_bytes(b"\xff\xfe2\x00")
    with pytest.raises(DataError, match=r"val\.txt: cannot be read as a list of names"):
        VOC(root, "val")
