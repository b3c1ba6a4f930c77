import numpy as np
import pytest
import torch
from PIL import Image

from segaware.data import VOC, DataError, dataset, dataset_names, write_png
from segaware.data.flow.files import write_flo
from segaware.data.flow.flying_shapes import FlyingShapes

GENERATED = ("flying_shapes", "flying_voc")
WITH_SPLIT = ("flying_chairs", "flying_things3d_clean", "flying_things3d_final")
FOLDERS = {
    "flying_chairs": "flyingchairs",
    "flying_chairs_all": "flyingchairs",
    "flying_things3d_clean": "flyingthings3d",
    "flying_things3d_final": "flyingthings3d",
    "sintel_clean": "sintel",
    "sintel_final": "sintel",
    "kitti2012": "kitti2012",
    "kitti2015": "kitti2015",
    "middlebury": "middlebury",
}


def test_series_of_the_splits_are_disjoint():
    shapes = dataset("flying_shapes", "flow")
    train = shapes.open("train", length=2, size=(32, 48))
    val = shapes.open("val", length=2, size=(32, 48), transform=lambda sample: sample._replace(name="changed"))
    assert len(train) == len(val) == 2
    assert train[0].flow.shape == (2, 32, 48) and val[0].name == "changed"
    assert not any(torch.equal(a.image1, b.image1) for a in train for b in val)


def test_regions_of_the_splits_are_disjoint():
    regions = dataset("flying_regions", "segmentation")
    assert regions.num_classes is None and not regions.ground and regions.tolerance == 0
    train = regions.open("train", length=3, size=(32, 48))
    val = regions.open("val", length=3, size=(32, 48), transform=lambda sample: sample._replace(name="changed"))
    assert train[2].label.shape == (32, 48) and val[2].name == "changed"
    assert not any(torch.equal(a.image, b.image) for a in train for b in val)
    assert len(regions.open("val")) == 1000


def test_flying_voc_takes_the_photographs_of_the_split(tmp_path):
    folder = tmp_path / "voc"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for split, name in (("train", "a"), ("val", "b")):
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / f"JPEGImages/{name}.jpg")
        write_png(folder / f"SegmentationClass/{name}.png", np.zeros((40, 40), np.uint8))
        (folder / f"ImageSets/Segmentation/{split}.txt").write_text(f"{name}\n")
    seeds = set()
    for split, name in (("train", "a"), ("val", "b")):
        pairs = dataset("flying_voc").open(split, tmp_path, length=3, size=(24, 32))
        assert isinstance(pairs, FlyingShapes) and isinstance(pairs.photographs, VOC)
        assert [image.stem for image, _ in pairs.photographs.pairs] == [name]
        assert len(pairs) == 3 and pairs[0].flow.shape == (2, 24, 32)
        seeds.add(pairs.seed)
    assert len(seeds) == 2


@pytest.mark.parametrize("name", FOLDERS)
def test_data_on_disk_needs_a_root(name, tmp_path):
    with pytest.raises(DataError, match=rf"{name}.*--data-root.*SEGAWARE_DATA"):
        dataset(name).open("val")
    with pytest.raises(DataError, match=rf"{FOLDERS[name]}: no such folder"):
        dataset(name).open("val", tmp_path)


@pytest.mark.parametrize("name", sorted(set(dataset_names("flow")) - set(GENERATED) - set(WITH_SPLIT)))
def test_sets_without_a_split_cannot_be_trained_on_by_name(name, tmp_path):
    with pytest.raises(ValueError, match=rf"split must be 'val' for data set '{name}', .* got 'train'"):
        dataset(name).open("train", tmp_path)


def test_flying_chairs_by_split_and_whole(tmp_path):
    folder = tmp_path / "flyingchairs"
    folder.mkdir()
    for number in ("00001", "00002", "00003"):
        for image in ("img1", "img2"):
            Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(folder / f"{number}_{image}.ppm")
        write_flo(folder / f"{number}_flow.flo", np.zeros((2, 3, 2), np.float32))
    (folder / "FlyingChairs_train_val.txt").write_text("1\n2\n1\n")
    names = [[sample.name for sample in dataset("flying_chairs").open(s, tmp_path)] for s in ("train", "val")]
    assert names == [["00001", "00003"], ["00002"]]
    whole = dataset("flying_chairs_all").open("val", tmp_path, lambda sample: sample._replace(name="changed"))
    assert [sample.name for sample in whole] == ["changed"] * 3


@pytest.mark.parametrize(("name", "passes"), [("flying_things3d", "frames_{}pass.T"), ("sintel", "training.{}.")])
def test_passes(name, passes, tmp_path):
    (tmp_path / "sintel/training/flow/alley_1").mkdir(parents=True)
    (tmp_path / "sintel/training/flow/alley_1/frame_0001.flo").touch()
    (tmp_path / "flyingthings3d").mkdir()
    for pass_name in ("clean", "final"):
        with pytest.raises(DataError, match=passes.format(pass_name)):
            dataset(f"{name}_{pass_name}").open("val", tmp_path)


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match=r"unknown data set for flow 'camvid': there are .* flying_shapes, flying_th"):
        dataset("camvid", "flow")
    with pytest.raises(ValueError, match=r"split must be 'train' or 'val' for data set 'flying_shapes', .* got 'test'"):
        dataset("flying_shapes").open("test")
