import pytest
import torch

from segaware.data import Compose, DataError, RandomCrop, Scenes, build_dataset, dataset_info, palette_for


def test_scenes_of_the_splits_are_disjoint():
    train = build_dataset("scenes", "train", length=3, size=(24, 32))
    val = build_dataset("scenes", "val", length=3, size=(24, 32), transform=Compose([RandomCrop(8, 8)]))
    assert isinstance(train, Scenes) and len(train) == len(val) == 3
    assert train.seed != val.seed
    assert train[0].label.shape == (24, 32) and val[0].label.shape == (8, 8)
    plain = build_dataset("scenes", "val", length=3, size=(24, 32))
    assert not any(torch.equal(a.image, b.image) for a in train for b in plain)


@pytest.mark.parametrize("name", ["camvid", "bsds500"])
def test_data_on_disk_needs_a_root(name, tmp_path):
    with pytest.raises(DataError, match=rf"{name}.*--data-root.*SEGAWARE_DATA"):
        build_dataset(name, "train")
    with pytest.raises(DataError, match=rf"{name}.images.val: no such folder"):
        build_dataset(name, "val", root=tmp_path)


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match=r"'scenes', 'camvid', 'bsds500', 'voc', .*, got 'kitti'"):
        build_dataset("kitti", "train")
    with pytest.raises(ValueError, match="got 'kitti'"):
        dataset_info("kitti")
    with pytest.raises(ValueError, match="split must be 'train' or 'val', got 'test'"):
        build_dataset("scenes", "test")


@pytest.mark.parametrize(
    ("name", "count"),
    [("scenes", 6), ("camvid", 11), ("bsds500", None), ("voc_animals", 7), ("coco", 21), ("voc_bsds500", None)],
)
def test_dataset_info(name, count):
    info = dataset_info(name)
    assert info.num_classes == count and len(info.classes) == (count or 0)
    assert (info.palette == palette_for(name)).all()
