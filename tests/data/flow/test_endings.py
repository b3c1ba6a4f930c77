"""Data sets find their files whatever case an ending has, and images in any format."""

import numpy as np
import pytest
from PIL import Image

from segaware.data import DataError
from segaware.data.flow import (
    KITTI,
    FlyingChairs,
    FlyingThings3D,
    Middlebury,
    Sintel,
    open_frames,
    write_flo,
    write_kitti_flow,
    write_pfm,
)

FLOW = np.zeros((2, 3, 2), np.float32)
THINGS = "optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_"
LAYOUTS = {
    "flyingchairs": (
        lambda root: FlyingChairs(root, "all"),
        ["00001_img1.ppm", "00001_img2.ppm", "00001_flow.flo"],
    ),
    "flyingthings3d": (
        lambda root: FlyingThings3D(root, "train", "clean"),
        [
            "frames_cleanpass/TRAIN/A/0000/left/0006.png",
            "frames_cleanpass/TRAIN/A/0000/left/0007.png",
            f"{THINGS}0006_L.pfm",
        ],
    ),
    "sintel": (
        lambda root: Sintel(root, "clean"),
        ["training/clean/a/frame_0001.png", "training/clean/a/frame_0002.png", "training/flow/a/frame_0001.flo"]
        + [f"training/{mask}/a/frame_0001.png" for mask in ("invalid", "occlusions")],
    ),
    "kitti2015": (
        lambda root: KITTI(root, 2015),
        [f"training/{name}.png" for name in ("image_2/000000_10", "image_2/000000_11")]
        + [f"training/{name}/000000_10.flow" for name in ("flow_occ", "flow_noc")],
    ),
    "middlebury": (
        Middlebury,
        ["other-data/Grove2/frame10.png", "other-data/Grove2/frame11.png", "other-gt-flow/Grove2/flow10.flo"],
    ),
}


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".flo":
        write_flo(path, FLOW)
    elif path.suffix == ".pfm":
        write_pfm(path, np.zeros((2, 3, 3), np.float32))
    elif path.suffix == ".flow":
        pytest.importorskip("cv2")
        write_kitti_flow(path.with_suffix(".png"), FLOW)
    else:
        Image.new("RGB", (3, 2)).save(path)


@pytest.mark.parametrize("change", [lambda name: name.upper(), lambda name: name.title(), lambda name: name.lower()])
@pytest.mark.parametrize("name", LAYOUTS)
def test_endings_count_in_any_case(tmp_path, name, change):
    opened, files = LAYOUTS[name]
    for file in files:
        write(tmp_path / name / file)
    for path in list(tmp_path.rglob("*.*")):
        path.rename(path.with_suffix(change(path.suffix)))
    (sample,) = opened(tmp_path)
    assert sample.valid.all() or name == "sintel"


@pytest.mark.parametrize("name", LAYOUTS)
def test_images_may_have_any_format_and_one_file(tmp_path, name):
    opened, files = LAYOUTS[name]
    for file in files:
        write(tmp_path / name / file)
    first, second = (tmp_path / name / file for file in files[:2])
    first.unlink()
    Image.new("RGB", (3, 2)).save(first.with_suffix(".WEBP"), "WEBP")
    second.unlink()
    Image.new("RGB", (3, 2)).save(second.with_suffix(".jpeg"))
    assert len(list(opened(tmp_path))) == 1
    Image.new("RGB", (3, 2)).save(second.with_suffix(".bmp"))
    with pytest.raises(DataError, match="have the same name"):
        opened(tmp_path)


def test_frames_of_a_folder(tmp_path):
    for name in ("a.JPG", "b.png", ".hidden.png", "._a.JPG"):
        Image.new("RGB", (3, 2)).save(tmp_path / name)
    frames = open_frames([tmp_path])
    assert [name for name, *_ in frames] == ["a"] and len(frames.left_out) == 2


def test_frames_are_the_way_up_that_viewers_show_them(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    for name in ("a", "b"):
        Image.new("RGB", (3, 2)).save(tmp_path / f"{name}.jpg", exif=exif)
    ((_, image1, image2),) = open_frames([tmp_path / "a.jpg", tmp_path / "b.jpg"])
    assert image1.shape == image2.shape == (3, 2, 3)
