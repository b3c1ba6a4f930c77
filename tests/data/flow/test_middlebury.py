import numpy as np
import pytest

from segaware.data import DataError, write_png
from segaware.data.flow.files import write_flo
from segaware.data.flow.middlebury import Middlebury


@pytest.fixture
def root(tmp_path):
    for value, name in enumerate(("RubberWhale", "Grove2", "Walking")):
        images = tmp_path / "middlebury" / "other-data" / name
        images.mkdir(parents=True)
        for frame in (9, 10, 11):
            write_png(images / f"frame{frame:02d}.png", np.full((2, 3, 3), 20 * value + frame, np.uint8))
        if name != "Walking":  # has no public flow
            flow = np.full((2, 3, 2), (value + 1, -2), np.float32)
            flow[0, 0] = 1666666752
            (tmp_path / "middlebury" / "other-gt-flow" / name).mkdir(parents=True)
            write_flo(tmp_path / "middlebury" / "other-gt-flow" / name / "flow10.flo", flow)
    return tmp_path


def test_contents(root):
    dataset = Middlebury(root)
    assert [sample.name for sample in dataset] == ["Grove2", "RubberWhale"]
    sample = dataset[0]
    assert (sample.image1[0, 0, 0] * 255).item() == pytest.approx(30)
    assert (sample.image2[0, 0, 0] * 255).item() == pytest.approx(31)
    assert sample.valid.tolist() == [[False, True, True], [True, True, True]]
    assert sample.flow.tolist() == [[[0, 2, 2], [2, 2, 2]], [[0, -2, -2], [-2, -2, -2]]]
    assert not sample.occluded.any()


def test_construction_fails_before_the_first_access(root):
    (root / "middlebury/other-data/Grove2/frame11.png").unlink()
    with pytest.raises(DataError, match=r"Grove2.frame11\.png: no such file"):
        Middlebury(root)
    (root / "middlebury/other-gt-flow").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"middlebury: holds no other-gt-flow"):
        Middlebury(root)
    with pytest.raises(DataError, match=r"middlebury: no such folder, nor .*flow.middlebury"):
        Middlebury(root / "nowhere")
