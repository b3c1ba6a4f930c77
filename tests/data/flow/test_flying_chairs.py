import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from segaware.data import DataError
from segaware.data.flow.files import write_flo
from segaware.data.flow.flying_chairs import FlyingChairs

NUMBERS = ("00001", "00002", "00003", "10000")


def write_pairs(folder):
    folder.mkdir(parents=True)
    for value, number in reversed(list(enumerate(NUMBERS))):
        for image, red in (("img1", 10 * value), ("img2", 10 * value + 5)):
            Image.fromarray(np.full((2, 3, 3), (red, 0, 0), np.uint8)).save(folder / f"{number}_{image}.ppm")
        write_flo(folder / f"{number}_flow.flo", np.full((2, 3, 2), (value, -value), np.float32))


@pytest.fixture
def root(tmp_path):
    write_pairs(tmp_path / "FlyingChairs_release" / "data")
    (tmp_path / "FlyingChairs_release" / "FlyingChairs_train_val.txt").write_text("1\n2\n1\n1\n")
    return tmp_path


def test_splits_in_order_of_number(root):
    assert [sample.name for sample in FlyingChairs(root, "all")] == list(NUMBERS)
    assert [sample.name for sample in FlyingChairs(root, "train")] == ["00001", "00003", "10000"]
    assert [sample.name for sample in FlyingChairs(root, "val")] == ["00002"]


def test_contents(root):
    sample = FlyingChairs(root, "all")[3]
    assert (sample.image1[0, 0, 0] * 255).item() == pytest.approx(30)
    assert (sample.image2[0, 0, 0] * 255).item() == pytest.approx(35)
    assert sample.flow[:, 1, 2].tolist() == [3, -3]
    assert sample.valid.all() and not sample.occluded.any()


def test_batches_and_transform(root):
    dataset = FlyingChairs(root, "train", transform=lambda sample: sample._replace(flow=sample.flow + 1))
    batch = next(iter(DataLoader(dataset, batch_size=3)))
    assert batch.image1.shape == (3, 3, 2, 3) and batch.valid.shape == (3, 2, 3)
    assert batch.flow[:, 0, 0, 0].tolist() == [1, 3, 4]


@pytest.mark.parametrize("place", ["flow/flyingchairs", "flow", "."])
def test_split_file_may_lie_beside_above_or_in_the_root(tmp_path, place):
    write_pairs(tmp_path / "flow" / "flyingchairs")
    with pytest.raises(DataError, match=r"flyingchairs.FlyingChairs_train_val\.txt: no such file, nor .*'all' needs"):
        FlyingChairs(tmp_path, "train")
    assert len(FlyingChairs(tmp_path, "all")) == 4
    (tmp_path / place / "FlyingChairs_train_val.txt").write_text("2\n2\n2\n1\n")
    assert len(FlyingChairs(tmp_path, "val")) == 3


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ("1\n2\n1\n", "marks 3 pairs, but 4 are there"),
        ("1\n2\n1\n0\n", r"must be 1 \(training\) and 2 \(validation\), found \['0', '1', '2'\]"),
        ("1\n1\n1\n1\n", r"found \['1'\]"),
    ],
)
def test_split_file_must_fit(root, marks, message):
    (root / "FlyingChairs_release" / "FlyingChairs_train_val.txt").write_text(marks)
    with pytest.raises(DataError, match=rf"FlyingChairs_train_val\.txt: .*{message}"):
        FlyingChairs(root, "train")


def test_construction_fails_before_the_first_access(root, tmp_path):
    with pytest.raises(ValueError, match="got 'test'"):
        FlyingChairs(root, "test")
    (root / "FlyingChairs_release/data/00002_img2.ppm").unlink()
    with pytest.raises(DataError, match=r"00002_img2\.ppm: no such file"):
        FlyingChairs(root, "all")
    with pytest.raises(DataError, match=r"flyingchairs: no such folder, nor .*FlyingChairs_release"):
        FlyingChairs(root / "elsewhere", "all")
    (root / "flyingchairs").mkdir()
    with pytest.raises(DataError, match=r"flyingchairs: holds no NUMBER_flow\.flo"):
        FlyingChairs(root, "all")


def test_bad_flow_is_named(root):
    write_flo(root / "FlyingChairs_release/data/00001_flow.flo", np.zeros((3, 2, 2), np.float32))
    with pytest.raises(DataError, match=r"00001_flow\.flo: its size 3x2 .* 2x3 of .*00001_img1\.ppm"):
        FlyingChairs(root, "all")[0]
