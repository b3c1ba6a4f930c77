from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from segaware.data import (
    Compose,
    DataError,
    DatasetRecord,
    RandomCrop,
    Scenes,
    dataset,
    dataset_names,
    register_dataset,
)
from segaware.data import registry as registry_module

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
DEPTH = DatasetRecord("rooms", "depth", lambda root, split, transform: Rooms(root, split), layout="rooms/SPLIT.npy")


class Rooms(Dataset):
    def __init__(self, root, split):
        self.depth = np.load(root / "rooms" / f"{split}.npy")

    def __len__(self):
        return len(self.depth)

    def __getitem__(self, index):
        return self.depth[index]


@pytest.fixture
def own(monkeypatch):
    """Forget what a test registers."""
    monkeypatch.setattr(registry_module, "_records", dict(registry_module._records))


def test_a_data_set_of_a_third_task(own, tmp_path):
    register_dataset(DEPTH)
    assert dataset_names("depth") == ("rooms",) and "rooms" in dataset_names()
    (tmp_path / "rooms").mkdir()
    np.save(tmp_path / "rooms" / "val.npy", np.zeros((5, 2, 2)))
    opened = dataset("rooms", "depth").open("val", tmp_path)
    assert isinstance(opened, Rooms) and len(opened) == 5
    assert dataset("rooms").num_classes is None
    with pytest.raises(ValueError, match="unknown data set for segmentation 'rooms': there are ade, ade_scored"):
        dataset("rooms", "segmentation")
    with pytest.raises(ValueError, match="there is a data set 'rooms' already, for depth"):
        register_dataset(DEPTH)


def test_a_palette_has_a_colour_for_every_label():
    with pytest.raises(ValueError, match=r"palette must be uint8 \(256, 3\), got uint8 \(3, 3\)"):
        DatasetRecord("rooms", "segmentation", Rooms, "", palette=np.zeros((3, 3), np.uint8))


def test_scenes_of_the_splits_are_disjoint():
    scenes = dataset("scenes", "segmentation")
    train = scenes.open("train", length=3, size=(24, 32))
    val = scenes.open("val", length=3, size=(24, 32), transform=Compose([RandomCrop(8, 8)]))
    assert isinstance(train, Scenes) and len(train) == len(val) == 3
    assert train.seed != val.seed
    assert train[0].label.shape == (24, 32) and val[0].label.shape == (8, 8)
    plain = scenes.open("val", length=3, size=(24, 32))
    assert not any(torch.equal(a.image, b.image) for a in train for b in plain)
    assert scenes.open("val")[0].label.shape == (96, 96)


@pytest.mark.parametrize("name", ["camvid", "bsds500"])
def test_data_on_disk_needs_a_root(name, tmp_path):
    with pytest.raises(DataError, match=rf"{name}.*--data-root.*SEGAWARE_DATA.*{name}/images/.train,val./.*\.jpg"):
        dataset(name).open("train")
    with pytest.raises(DataError, match=rf"{name}.images.val: no such folder; data set '{name}' wants {name}/im"):
        dataset(name).open("val", tmp_path)
    with pytest.raises(ValueError, match=rf"'{name}' has its own length and size, but got .'length': 3"):
        dataset(name).open("val", tmp_path, length=3)


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match=r"unknown data set 'camvit': did you mean camvid\? there are ade, .*, voc"):
        dataset("camvit")
    with pytest.raises(ValueError, match="unknown data set for segmentation 'kitti2015': there are ade, "):
        dataset("kitti2015", "segmentation")
    with pytest.raises(ValueError, match=r"split must be 'train' or 'val' for data set 'scenes', .* got 'test'"):
        dataset("scenes").open("test")


@pytest.mark.parametrize(
    ("name", "count"),
    [("scenes", 6), ("camvid", 11), ("bsds500", None), ("voc_animals", 7), ("coco", 21), ("voc_bsds500", None)],
)
def test_classes(name, count):
    record = dataset(name, "segmentation")
    assert record.num_classes == count and len(record.classes) == (count or 0)


@pytest.mark.parametrize("name", dataset_names())
def test_the_page_has_every_data_set_and_layout(name):
    page = PAGE.read_text(encoding="utf-8")
    assert f"`{name}`" in page
    for part in dataset(name).layout.split("; and "):
        assert part in page.replace("`", "")
