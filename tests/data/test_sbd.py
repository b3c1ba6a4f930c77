import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segaware.data import DataError, write_png
from segaware.data.sbd import SBD, VOCTrainAug

SBD_MASK = np.array([[0, 20, 20], [15, 15, 0]], np.uint8)
VOC_MASK = np.array([[0, 255, 20], [15, 255, 0]], np.uint8)


def write_mask(path, mask=SBD_MASK, compressed=True):
    """Write a mask as SBD has it, with its neighbours in the struct."""
    boundaries = np.empty((20, 1), object)
    boundaries[:, 0] = [np.zeros((2, 3), np.uint8)] * 20
    struct = {"Boundaries": boundaries, "Segmentation": mask, "CategoriesPresent": np.array([15, 20], np.uint8)}
    savemat(path, {"GTcls": struct}, do_compression=compressed)


def write_image(path, red):
    Image.fromarray(np.full((2, 3, 3), (red, 90, 90), np.uint8)).save(path, quality=100)


def write_sbd(folder, **lists):
    """SBD's layout; its photographs have red 200."""
    for name in ("img", "cls"):
        (folder / name).mkdir(parents=True)
    for split, names in lists.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            write_image(folder / "img" / f"{name}.jpg", red=200)
            write_mask(folder / "cls" / f"{name}.mat")


def write_voc(folder, **lists):
    """VOC's layout; its photographs have red 50."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for split, names in lists.items():
        (folder / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            write_image(folder / "JPEGImages" / f"{name}.jpg", red=50)
            write_png(folder / "SegmentationClass" / f"{name}.png", VOC_MASK)


@pytest.fixture
def root(tmp_path):
    # Each overlap that the real lists have: SBD's train and val with VOC's train and val.
    write_voc(tmp_path / "voc", train=["a", "b", "c"], val=["x", "y"])
    write_sbd(tmp_path / "sbd", train=["n", "b", "x", "m"], val=["c", "k", "y"])
    return tmp_path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("layout", ["sbd", "benchmark_RELEASE/dataset"])
def test_reads_both_layouts_in_order_of_the_list(tmp_path, layout, compressed):
    write_sbd(tmp_path / layout, train=["n", "b"], val=["c"])
    mask = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    write_mask(tmp_path / layout / "cls/b.mat", mask, compressed)
    dataset = SBD(tmp_path, "train", transform=lambda sample: sample._replace(name=sample.name + "!"))
    assert [sample.name for sample in dataset] == ["n!", "b!"]
    np.testing.assert_array_equal(dataset[0].label.numpy(), SBD_MASK)
    np.testing.assert_array_equal(dataset[1].label.numpy(), mask)
    np.testing.assert_allclose(dataset[1].image[0].numpy() * 255, 200, atol=3)
    assert len(SBD(tmp_path, "val")) == 1
    assert len(SBD.classes) == SBD.num_classes == 21


def test_train_aug_joins_the_lists_without_val(root):
    dataset = VOCTrainAug(root)
    assert [sample.name for sample in dataset] == ["a", "b", "c", "k", "m", "n"]
    assert len(dataset) == 6 and VOCTrainAug.num_classes == 21
    for sample in dataset:
        own = sample.name in "abc"
        np.testing.assert_array_equal(sample.label.numpy(), VOC_MASK if own else SBD_MASK)
        np.testing.assert_allclose(sample.image[0].numpy() * 255, 50 if own else 200, atol=3)


def test_train_aug_reads_the_archives_own_folders_and_transforms(tmp_path):
    write_voc(tmp_path / "VOCdevkit/VOC2012", train=["a"], val=["x"])
    write_sbd(tmp_path / "benchmark_RELEASE/dataset", train=["b"], val=["x"])
    dataset = VOCTrainAug(tmp_path, transform=lambda sample: sample._replace(label=sample.label * 0))
    assert [sample.name for sample in dataset] == ["a", "b"] and dataset[1].label.eq(0).all()


def test_train_aug_takes_sbds_mask_where_voc_has_none(root):
    (root / "voc/SegmentationClass/b.png").unlink()
    np.testing.assert_array_equal(VOCTrainAug(root)[1].label.numpy(), SBD_MASK)
    (root / "voc/SegmentationClass/a.png").unlink()  # neither has it
    with pytest.raises(DataError, match=r"a\.jpg: no such file, but a list names it; 2 are missing"):
        VOCTrainAug(root)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("sbd", r"sbd: no such folder, nor .*benchmark_RELEASE/dataset"),
        ("voc", r"voc: no such folder, nor"),
        ("sbd/train.txt", r"train\.txt: no such file; SBD names"),
        ("sbd/val.txt", r"val\.txt: no such file; SBD names"),
        ("voc/ImageSets/Segmentation/val.txt", r"val\.txt: no such file; VOC names"),
        ("sbd/cls/n.mat", r"n\.mat: no such file, but a list names it; 1 are missing"),
        ("voc/JPEGImages/a.jpg", r"a\.jpg: no such file, but a list names it"),
    ],
)
def test_what_is_missing_is_named_at_construction(root, gone, message):
    (root / gone).rename(root / "elsewhere")
    with pytest.raises(DataError, match=message):
        VOCTrainAug(root)


def test_construction_of_sbd_alone(root):
    with pytest.raises(ValueError, match="split must be 'train' or 'val', got 'test'"):
        SBD(root, "test")
    (root / "sbd/img/m.jpg").unlink()
    with pytest.raises(DataError, match=r"m\.jpg: no such file"):
        SBD(root, "train")
    (root / "sbd/val.txt").write_text("\n")
    with pytest.raises(DataError, match=r"val\.txt: names no image"):
        SBD(root, "val")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"GTinst": {"Segmentation": SBD_MASK}}, "holds no readable struct 'GTcls'"),
        ({"GTcls": {"Boundaries": SBD_MASK}}, "holds no readable struct 'GTcls' with a field 'Segmentation'"),
        ({"GTcls": SBD_MASK}, "holds no readable struct"),
        ({"GTcls": {"Segmentation": SBD_MASK.astype(float)}}, r"must be uint8 \(H, W\), got float64 \(2, 3\)"),
        ({"GTcls": {"Segmentation": np.stack([SBD_MASK, SBD_MASK])}}, r"got uint8 \(2, 2, 3\)"),
        ({"GTcls": {"Segmentation": SBD_MASK[:, :2]}}, r"the label's size 2x2 .* 2x3"),
        ({"GTcls": {"Segmentation": SBD_MASK + np.uint8(1)}}, r"classes must be in 0\.\.20, got 21"),
        ({"GTcls": {"Segmentation": VOC_MASK}}, r"classes must be in 0\.\.20, got 255"),
    ],
)
def test_wrong_contents_are_named(root, content, message):
    savemat(root / "sbd/cls/n.mat", content)
    with pytest.raises(DataError, match=r"n\.mat: .*" + message):
        SBD(root, "train")[0]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_is_one_clear_error(root, compressed):
    path = root / "sbd/cls/n.mat"
    write_mask(path, compressed=compressed)
    whole = path.read_bytes()
    dataset = SBD(root, "train")
    for length in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"n\.mat: holds no readable struct"):
            dataset[0]


def test_garbage_and_matlab_73_are_named(root):
    path = root / "sbd/cls/n.mat"
    dataset = SBD(root, "train")
    path.write_bytes(np.random.default_rng(0).bytes(2000))
    with pytest.raises(DataError, match=r"n\.mat: holds no readable struct"):
        dataset[0]
    # The header that MATLAB puts before HDF5's own.
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(500))
    with pytest.raises(DataError, match=r"n\.mat: is a MATLAB 7\.3 \(HDF5\) file"):
        dataset[0]
    path.unlink()
    with pytest.raises(DataError, match=r"n\.mat"):
        dataset[0]


def test_a_mask_whose_objects_are_255_is_named(root):
    write_png(root / "voc/SegmentationClass/a.png", np.where(VOC_MASK > 0, np.uint8(255), np.uint8(0)))
    with pytest.raises(DataError, match=r"a\.png: .* 0 and 255 alone"):
        VOCTrainAug(root)[0]


def test_files_may_have_any_ending_in_any_case(root):
    (root / "sbd/img/n.jpg").rename(root / "sbd/img/n.JPEG")
    (root / "sbd/cls/n.mat").rename(root / "sbd/cls/n.MAT")
    (root / "voc/SegmentationClass/a.png").rename(root / "voc/SegmentationClass/a.PNG")
    assert SBD(root, "train")[0].name == "n"
    np.testing.assert_array_equal(VOCTrainAug(root)[0].label.numpy(), VOC_MASK)
