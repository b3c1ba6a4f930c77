import numpy as np
import pytest
import torch

from segaware.data import DataError, write_png
from segaware.data.flow.pairs import FlowPairs, Motion, Pair, find_folder


class Pairs(FlowPairs):
    motion = Motion(np.zeros((2, 3, 2), np.float32))

    def _read_motion(self, pair):
        return self.motion


@pytest.fixture
def pair(tmp_path):
    for name, value in (("1.png", 51), ("2.png", 102)):
        write_png(tmp_path / name, np.full((2, 3, 3), (value, 0, 255), np.uint8))
    (tmp_path / "a.flo").touch()
    return Pair("a", tmp_path / "1.png", tmp_path / "2.png", tmp_path / "a.flo")


def test_sample_has_channels_first_and_masks_by_default(pair):
    sample = Pairs([pair], None)[0]
    assert sample.image1.dtype == sample.flow.dtype == torch.float32
    torch.testing.assert_close(sample.image1, torch.tensor([0.2, 0, 1])[:, None, None].expand(3, 2, 3))
    torch.testing.assert_close(sample.image2, torch.tensor([0.4, 0, 1])[:, None, None].expand(3, 2, 3))
    assert sample.flow.shape == (2, 2, 3) and sample.flow.is_contiguous()
    assert sample.valid.dtype == sample.occluded.dtype == torch.bool
    assert sample.valid.all() and not sample.occluded.any() and sample.name == "a"


def test_unknown_flow_is_0_and_not_valid(pair):
    flow = np.arange(12, dtype=np.float32).reshape(2, 3, 2) + 1
    flow[0, 0, 1], flow[1, 1] = np.nan, 1666666752
    valid = np.ones((2, 3), bool)
    valid[0, 2] = False
    occluded = np.zeros((2, 3), bool)
    occluded[0, 1] = True
    dataset = Pairs([pair], None)
    dataset.motion = Motion(flow, valid, occluded)
    sample = dataset[0]
    assert sample.valid.tolist() == [[False, True, False], [True, False, True]]
    assert sample.flow.tolist() == [[[0, 3, 0], [7, 0, 11]], [[0, 4, 0], [8, 0, 12]]]
    assert sample.occluded.tolist() == occluded.tolist()


def test_transform(pair):
    assert Pairs([pair], lambda sample: sample._replace(name="b"))[0].name == "b"


@pytest.mark.parametrize("name", ["1.png", "2.png"])
def test_images_of_another_size_are_named(pair, tmp_path, name):
    write_png(tmp_path / name, np.zeros((3, 2, 3), np.uint8))
    with pytest.raises(DataError, match=rf"a\.flo: its size 2x3 .* is not the 3x2 of .*{name}"):
        Pairs([pair], None)[0]


@pytest.mark.parametrize("name", ["1.png", "2.png", "a.flo"])
def test_missing_files_are_told_at_construction(pair, tmp_path, name):
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: no such file; 1 files of 1 pairs"):
        Pairs([pair], None)


def test_masks_are_among_the_files(pair, tmp_path):
    with pytest.raises(DataError, match=r"mask\.png: no such file"):
        Pairs([pair._replace(masks=(tmp_path / "mask.png",))], None)


def test_find_folder(tmp_path):
    with pytest.raises(DataError, match=r"a: no such folder, nor .*b.c, .*flow.a, .*flow.b.c$"):
        find_folder(tmp_path, "a", "b/c")
    for name in ("flow/b/c", "flow/a", "b/c", "a"):
        (tmp_path / name).mkdir(parents=True)
        assert find_folder(tmp_path, "a", "b/c") == tmp_path / name
