import numpy as np
import pytest

from segaware.data import DataError, write_png
from segaware.data.flow.files import write_flo
from segaware.data.flow.sintel import Sintel

LAST = {"bamboo_1": 3, "alley_1": 2}  # frames of each scene
INVALID = np.array([[255, 0, 0], [0, 0, 0]], np.uint8)
OCCLUDED = np.array([[0, 255, 0], [0, 0, 255]], np.uint8)


@pytest.fixture
def root(tmp_path):
    training = tmp_path / "MPI-Sintel" / "training"
    for scene, last in LAST.items():
        for kind in ("clean", "final", "flow", "invalid", "occlusions"):
            (training / kind / scene).mkdir(parents=True)
        for frame in range(1, last + 1):
            name = f"{scene}/frame_{frame:04d}"
            write_png(training / f"clean/{name}.png", np.full((2, 3, 3), frame, np.uint8))
            write_png(training / f"final/{name}.png", np.full((2, 3, 3), 100 + frame, np.uint8))
            write_png(training / f"invalid/{name}.png", INVALID)
            if frame < last:
                write_flo(training / f"flow/{name}.flo", np.full((2, 3, 2), (frame, -1), np.float32))
                write_png(training / f"occlusions/{name}.png", OCCLUDED)
    return tmp_path


@pytest.mark.parametrize(("pass_name", "value"), [("clean", 2), ("final", 102)])
def test_contents(root, pass_name, value):
    dataset = Sintel(root, pass_name)
    assert [sample.name for sample in dataset] == [
        "alley_1_frame_0001",
        "bamboo_1_frame_0001",
        "bamboo_1_frame_0002",
    ]
    sample = dataset[2]
    assert (sample.image1[0, 0, 0] * 255).item() == pytest.approx(value)
    assert (sample.image2[0, 0, 0] * 255).item() == pytest.approx(value + 1)
    np.testing.assert_array_equal(sample.valid.numpy(), INVALID == 0)
    np.testing.assert_array_equal(sample.occluded.numpy(), OCCLUDED > 0)
    assert sample.flow.tolist() == [[[0, 2, 2], [2, 2, 2]], [[0, -1, -1], [-1, -1, -1]]]


@pytest.mark.parametrize("kind", ["clean", "invalid", "occlusions"])
def test_construction_fails_before_the_first_access(root, kind):
    (root / f"MPI-Sintel/training/{kind}/bamboo_1/frame_0002.png").unlink()
    with pytest.raises(DataError, match=rf"{kind}.bamboo_1.frame_0002\.png: no such file"):
        Sintel(root, "clean")


def test_what_is_not_there_is_told(root, tmp_path):
    with pytest.raises(ValueError, match=r"pass_name must be .* got 'albedo'"):
        Sintel(root, "albedo")
    with pytest.raises(DataError, match=r"sintel: no such folder, nor .*MPI-Sintel"):
        Sintel(root / "elsewhere", "clean")
    (tmp_path / "sintel").mkdir()
    with pytest.raises(DataError, match=r"sintel.training: no such folder, or it holds no flow"):
        Sintel(root, "clean")


def test_a_mask_of_another_size_is_named(root):
    write_png(root / "MPI-Sintel/training/occlusions/alley_1/frame_0001.png", OCCLUDED[:1])
    with pytest.raises(DataError, match=r"occlusions.alley_1.frame_0001\.png: its size 1x3 .* 2x3 of .*\.flo"):
        Sintel(root, "clean")[0]
