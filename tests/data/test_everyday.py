from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segaware.data import DataError, Everyday, dataset, dataset_names, write_png
from segaware.data.everyday import EVERYDAY


def write_set(root: Path, folder: str, mask: np.ndarray, split: str = "train", name: str = "a") -> None:
    place = root / "everyday" / split / folder
    for kind in ("images", "masks"):
        (place / kind).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*mask.shape, 3), 100, np.uint8)).save(place / "images" / f"{name}.jpg")
    write_png(place / "masks" / f"{name}.png", mask)


@pytest.mark.parametrize(
    ("name", "mask", "label"),
    [
        ("duts", [0, 1, 1], [0, 1, 1]),
        ("sky", [0, 1, 255], [0, 1, 255]),
        ("facades", [0, 1, 8], [255, 0, 7]),  # nothing is of class 0
        ("pedestrians", [0, 5, 8], [0, 5, 8]),
        ("pedestrians_scored", [0, 5, 8], [0, 1, 4]),
        ("clothes", [0, 19, 58], [0, 19, 58]),
        ("clothes_scored", [0, 19, 58], [0, 7, 13]),
        ("faces_scored", [3, 4, 255], [16, 3, 255]),
        ("ade_scored", [6, 7, 255], [6, 7, 255]),
        ("coco_panoptic", [0, 44, 255], [0, 44, 255]),
    ],
)
def test_values_of_masks_become_classes(tmp_path, name, mask, label):
    write_set(tmp_path, EVERYDAY[name].folder, np.array([mask, mask], np.uint8))
    samples = dataset(name).open("train", tmp_path)
    assert len(samples) == 1 and samples[0].name == "a"
    assert samples[0].label.tolist() == [label, label]
    assert samples[0].image.shape == (3, 2, 3)


def test_classes_of_a_record_are_those_of_its_labels():
    for name, known in EVERYDAY.items():
        classes = {value for value in known.class_of if value != 255}
        assert len(classes) == max(classes) + 1
        assert dataset(name).num_classes in (None, len(classes))
    assert dataset("clothes").classes[41] == "skin"
    assert dataset("clothes_scored").classes[-2:] == ("sunglasses", "other")
    assert dataset("coco_panoptic").num_classes is None


def test_which_sets_have_ground_that_is_not_one_region():
    ground = {name for name in dataset_names("segmentation") if dataset(name).ground}
    assert ground >= {"duts", "ecssd", "clothes", "faces", "pedestrians", "horses", "butterflies", "sky", "voc"}
    assert not ground & {"ade", "coco_panoptic", "facades", "camvid", "bsds500", "voc_bsds500", "scenes"}


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match="split must be 'val' for data set 'ecssd'"):
        dataset("ecssd").open("train", tmp_path)
    with pytest.raises(ValueError, match="split must be 'train' or 'val', got 'test'"):
        Everyday(tmp_path, "test", folder="duts", class_of=(0, 1))
    with pytest.raises(
        DataError, match=r"duts.images: no such folder.*wants everyday/\{train,val\}/duts/images/ID.jpg"
    ):
        dataset("duts").open("train", tmp_path)
    write_set(tmp_path, "duts", np.array([[0, 1, 2]], np.uint8))
    with pytest.raises(DataError, match=r"a.png: label value 2 at row 0, column 2"):
        dataset("duts").open("train", tmp_path)[0]
    (tmp_path / "everyday/train/duts/masks/a.png").unlink()
    with pytest.raises(DataError, match=r"a.png: no such file"):
        dataset("duts").open("train", tmp_path)
