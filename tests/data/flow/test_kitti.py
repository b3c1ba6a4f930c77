import numpy as np
import pytest

from segaware.data import DataError, write_png
from segaware.data.flow.files import write_kitti_flow
from segaware.data.flow.kitti import KITTI

pytest.importorskip("cv2", reason="KITTI's files need the extra segaware[flow]")

KNOWN = np.array([[True, True, False], [False, True, True]])
VISIBLE = np.array([[True, False, False], [False, True, False]])


def write_training(training, images):
    for kind in ("flow_occ", "flow_noc", images):
        (training / kind).mkdir(parents=True, exist_ok=True)
    for number in (7, 3):
        flow = np.full((2, 3, 2), (number, -0.5), np.float32)
        write_kitti_flow(training / f"flow_occ/{number:06d}_10.png", flow, KNOWN)
        write_kitti_flow(training / f"flow_noc/{number:06d}_10.png", flow, VISIBLE)
        write_png(training / f"{images}/{number:06d}_10.png", np.full((2, 3, 3), number, np.uint8))
        write_png(training / f"{images}/{number:06d}_11.png", np.full((2, 3, 3), number + 100, np.uint8))
        write_png(training / f"{images}/{number:06d}_12.png", np.zeros((2, 3, 3), np.uint8))


@pytest.mark.parametrize(
    ("year", "folder", "images"),
    [
        (2012, "data_stereo_flow", "colored_0"),
        (2012, "kitti2012", "image_0"),
        (2015, "flow/kitti2015", "image_2"),
    ],
)
def test_contents(tmp_path, year, folder, images):
    write_training(tmp_path / folder / "training", images)
    dataset = KITTI(tmp_path, year)
    assert [sample.name for sample in dataset] == ["000003_10", "000007_10"]
    sample = dataset[1]
    assert (sample.image1[0, 0, 0] * 255).item() == pytest.approx(7)
    assert (sample.image2[0, 0, 0] * 255).item() == pytest.approx(107)
    np.testing.assert_array_equal(sample.valid.numpy(), KNOWN)
    np.testing.assert_array_equal(sample.occluded.numpy(), KNOWN & ~VISIBLE)
    assert sample.flow.tolist() == [[[7, 7, 0], [0, 7, 7]], [[-0.5, -0.5, 0], [0, -0.5, -0.5]]]


def test_2012_prefers_its_images_in_color(tmp_path):
    training = tmp_path / "kitti2012" / "training"
    write_training(training, "image_0")
    write_training(training, "colored_0")
    assert KITTI(tmp_path, 2012).pairs[0].image1 == training / "colored_0" / "000003_10.png"


def test_without_flow_noc_nothing_is_occluded(tmp_path):
    training = tmp_path / "kitti2015" / "training"
    write_training(training, "image_2")
    (training / "flow_noc").rename(training / "elsewhere")
    sample = KITTI(tmp_path, 2015)[0]
    np.testing.assert_array_equal(sample.valid.numpy(), KNOWN)
    assert not sample.occluded.any()


def test_construction_fails_before_the_first_access(tmp_path):
    with pytest.raises(ValueError, match="year must be 2012 or 2015, got 2013"):
        KITTI(tmp_path, 2013)
    with pytest.raises(DataError, match=r"kitti2015: no such folder, nor .*data_scene_flow"):
        KITTI(tmp_path, 2015)
    training = tmp_path / "kitti2015" / "training"
    training.mkdir(parents=True)
    with pytest.raises(DataError, match=r"training: .* holds no flow_occ"):
        KITTI(tmp_path, 2015)
    write_training(training, "image_2")
    (training / "flow_noc/000007_10.png").unlink()
    with pytest.raises(DataError, match=r"flow_noc.000007_10\.png: no such file"):
        KITTI(tmp_path, 2015)
    (training / "image_2/000003_11.png").unlink()
    with pytest.raises(DataError, match=r"image_2.000003_11\.png: no such file; 2 files of 2 pairs"):
        KITTI(tmp_path, 2015)


def test_a_mask_of_another_size_is_named(tmp_path):
    training = tmp_path / "kitti2015" / "training"
    write_training(training, "image_2")
    write_kitti_flow(training / "flow_noc/000003_10.png", np.zeros((3, 3, 2), np.float32))
    with pytest.raises(DataError, match=r"flow_noc.000003_10\.png: its size 3x3 .* 2x3 of .*flow_occ"):
        KITTI(tmp_path, 2015)[0]
