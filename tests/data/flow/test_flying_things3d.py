import numpy as np
import pytest
from PIL import Image

from segaware.data import DataError
from segaware.data.flow.files import write_pfm
from segaware.data.flow.flying_things3d import FlyingThings3D

FRAMES = range(8, 12)


def write_scene(folder, passes, scene, suffix, value):
    for pass_number, name in enumerate(passes):
        images = folder / f"frames_{name}" / scene / "left"
        images.mkdir(parents=True)
        for frame in FRAMES:
            pixels = np.full((2, 3, 3), value + frame + 100 * pass_number, np.uint8)
            Image.fromarray(pixels).save(images / f"{frame:04d}{suffix}", lossless=True)
    flows = folder / "optical_flow" / scene / "into_future" / "left"
    flows.mkdir(parents=True)
    for frame in FRAMES:
        write_pfm(
            flows / f"OpticalFlowIntoFuture_{frame:04d}_L.pfm",
            np.full((2, 3, 3), (frame, -value, 0), np.float32),
        )


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "flyingthings3d"
    passes = ("cleanpass", "finalpass")
    write_scene(folder, passes, "TRAIN/B/0003", ".png", 20)
    write_scene(folder, passes, "TRAIN/A/0001", ".webp", 40)
    write_scene(folder, passes, "TEST/C/0000", ".png", 60)
    return tmp_path


def test_pairs_of_following_frames(root):
    train = FlyingThings3D(root, "train", "clean")
    assert [sample.name for sample in train] == [
        *(f"A_0001_{frame:04d}" for frame in (8, 9, 10)),
        *(f"B_0003_{frame:04d}" for frame in (8, 9, 10)),
    ]
    assert [sample.name for sample in FlyingThings3D(root, "val", "clean")] == [
        "C_0000_0008",
        "C_0000_0009",
        "C_0000_0010",
    ]
    sample = train[4]
    assert (sample.image1[0, 0, 0] * 255).item() == pytest.approx(29)
    assert (sample.image2[0, 0, 0] * 255).item() == pytest.approx(30)
    assert sample.flow[:, 0, 0].tolist() == [9, -20]
    assert sample.valid.all() and not sample.occluded.any()


def test_passes_differ_in_images_only(root):
    clean, final = (FlyingThings3D(root, "train", name)[0] for name in ("clean", "final"))
    assert (final.image1[0, 0, 0] * 255 - clean.image1[0, 0, 0] * 255).item() == pytest.approx(100)
    assert final.flow.equal(clean.flow)


def test_a_frame_that_is_missing_does_not_go_unnoticed(root):
    (root / "flyingthings3d/frames_cleanpass/TRAIN/B/0003/left/0009.png").unlink()
    with pytest.raises(DataError, match=r"0009\.png: no such file"):
        FlyingThings3D(root, "train", "clean")


def test_construction_fails_before_the_first_access(root):
    with pytest.raises(ValueError, match=r"split must be .* got 'test'"):
        FlyingThings3D(root, "test", "clean")
    with pytest.raises(ValueError, match=r"pass_name must be .* got 'cleanpass'"):
        FlyingThings3D(root, "train", "cleanpass")
    (root / "flyingthings3d/optical_flow/TEST/C/0000/into_future/left/OpticalFlowIntoFuture_0010_L.pfm").unlink()
    with pytest.raises(DataError, match=r"OpticalFlowIntoFuture_0010_L\.pfm: no such file"):
        FlyingThings3D(root, "val", "clean")
    (root / "flyingthings3d/frames_finalpass").rename(root / "flyingthings3d/other")
    with pytest.raises(DataError, match=r"frames_finalpass.TRAIN: no such folder, or it holds no"):
        FlyingThings3D(root, "train", "final")


def test_flow_of_one_channel_is_an_error(root):
    path = root / "flyingthings3d/optical_flow/TEST/C/0000/into_future/left/OpticalFlowIntoFuture_0008_L.pfm"
    write_pfm(path, np.zeros((2, 3), np.float32))
    with pytest.raises(DataError, match=r"0008_L\.pfm: a flow has 3 channels"):
        FlyingThings3D(root, "val", "clean")[0]
