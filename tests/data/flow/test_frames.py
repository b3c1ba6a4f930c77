"""Frames of image files, folders and videos."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segaware.data import DataError
from segaware.data.flow.frames import open_frames


def _write_image(path: Path, value: int, size: tuple[int, int] = (8, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)
    return path


def _write_video(path: Path, frames: list[np.ndarray]) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (width, height))
    for frame in frames:
        writer.write(frame[:, :, ::-1].copy())  # OpenCV takes BGR
    writer.release()
    return path


def _values(sources: list[Path]) -> list[tuple[str, int, int]]:
    return [(name, int(image1[0, 0, 0]), int(image2[0, 0, 0])) for name, image1, image2 in open_frames(sources)]


def _colors(count: int) -> list[np.ndarray]:
    """Frames in plain colours, redder one after the other."""
    return [np.full((32, 48, 3), (50 * i, 40, 200), np.uint8) for i in range(count)]


def test_files_in_the_order_given(tmp_path: Path) -> None:
    b, c, a = (_write_image(tmp_path / name, i) for i, name in enumerate(("b.png", "c.BMP", "a.ppm")))
    assert _values([b, a]) == [("b", 0, 2)]
    assert _values([b, c, a]) == [("b", 0, 1), ("c", 1, 2)]
    assert len(open_frames([b, c, a])) == 2
    frames = open_frames([b, a])
    assert list(frames) and list(frames)  # can be read again
    name, image1, _ = next(iter(frames))
    assert (name, image1.shape, image1.dtype) == ("b", (8, 12, 3), np.uint8)


def test_folder_in_the_order_of_numbers(tmp_path: Path) -> None:
    for i in (10, 9, 1, 100):
        _write_image(tmp_path / f"frame{i}_left.png", i)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "more.png").mkdir()
    pairs = [("frame1_left", 1, 9), ("frame9_left", 9, 10), ("frame10_left", 10, 100)]
    assert _values([tmp_path]) == pairs
    frames = open_frames([tmp_path])
    assert len(frames) == 3 and frames.left_out == (tmp_path / "more.png", tmp_path / "notes.txt")


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".MOV"])
def test_video(tmp_path: Path, suffix: str) -> None:
    path = _write_video(tmp_path / f"street{suffix}", _colors(4))
    frames = open_frames([path])
    pairs = list(frames)
    assert len(frames) == 3
    assert [name for name, _, _ in pairs] == ["street_000000", "street_000001", "street_000002"]
    for i, (_, image1, image2) in enumerate(pairs):
        assert image1.shape == (32, 48, 3) and image1.flags.c_contiguous
        assert np.abs(image1.mean((0, 1)) - (50 * i, 40, 200)).max() < 5
        assert np.abs(image2.mean((0, 1)) - (50 * i + 50, 40, 200)).max() < 5


def test_moving_gif(tmp_path: Path) -> None:
    first, *others = (Image.fromarray(frame) for frame in _colors(3))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=others)
    assert [name for name, _, _ in open_frames([tmp_path / "moving.gif"])] == ["moving_000000", "moving_000001"]


def test_video_is_read_frame_by_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write_video(tmp_path / "long.avi", _colors(5))
    frames = open_frames([path])
    given, calls = cv2.cvtColor, []

    def counting(frame: np.ndarray, code: int) -> np.ndarray:  # it is called once per frame
        calls.append(1)
        return given(frame, code)

    monkeypatch.setattr(cv2, "cvtColor", counting)
    pairs = iter(frames)
    next(pairs)
    assert len(calls) == 2
    next(pairs)
    assert len(calls) == 3


def test_video_that_holds_less_than_it_promises(tmp_path: Path) -> None:
    noise = [np.random.default_rng(i).integers(0, 256, (64, 96, 3), np.uint8) for i in range(5)]
    whole = _write_video(tmp_path / "whole.avi", noise).read_bytes()
    (tmp_path / "part.avi").write_bytes(whole[: len(whole) * 3 // 4])
    frames = open_frames([tmp_path / "part.avi"])
    assert len(frames) == 4 and 1 <= len(list(frames)) < 4


def test_videos_that_cannot_be(tmp_path: Path) -> None:
    one = _write_video(tmp_path / "one.avi", _colors(1))
    with pytest.raises(DataError, match=r"one\.avi: a video needs at least two frames, got 1"):
        open_frames([one])
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 100)
    with pytest.raises(DataError, match=r"junk\.mp4: cannot be decoded as a video"):
        open_frames([tmp_path / "junk.mp4"])
    (tmp_path / "empty.mov").touch()
    with pytest.raises(DataError, match=r"empty\.mov: cannot be decoded as a video"):
        open_frames([tmp_path / "empty.mov"])
    image = _write_image(tmp_path / "a.png", 0)
    with pytest.raises(DataError, match=r"one\.avi is a video: give one video alone, or image files"):
        open_frames([image, one])


def test_sources_that_cannot_be(tmp_path: Path) -> None:
    a, b = _write_image(tmp_path / "a.png", 0), _write_image(tmp_path / "few/b.png", 1)
    with pytest.raises(DataError, match=r"nowhere\.png: no such file or folder"):
        open_frames([a, tmp_path / "nowhere.png"])
    with pytest.raises(DataError, match=r"flow needs at least two images, got .*a\.png$"):
        open_frames([a])
    with pytest.raises(DataError, match="flow needs at least two images, got none"):
        open_frames([])
    with pytest.raises(DataError, match=r"few: want at least two images \(.bmp, .*\), got 1"):
        open_frames([tmp_path / "few"])
    with pytest.raises(DataError, match=r"few is a folder: give one folder alone, or image files"):
        open_frames([tmp_path / "few", a])
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"notes\.txt: neither an image \(.bmp, .*\) nor a video \(.avi, "):
        open_frames([a, tmp_path / "notes.txt"])
    with pytest.raises(DataError, match=r"a\.png and of .*few/a\.png would be written to the same file"):
        open_frames([a, _write_image(tmp_path / "few/a.png", 2), b])


def test_frames_of_different_size(tmp_path: Path) -> None:
    a, b = (_write_image(tmp_path / f"{name}.png", 0) for name in "ab")
    c = _write_image(tmp_path / "c.png", 0, (12, 8))
    message = r"frames must be of one size, got .*a\.png of 12x8 pixels and .*c\.png of 8x12"
    with pytest.raises(DataError, match=message):
        open_frames([a, b, c])
    with pytest.raises(DataError, match=message):
        open_frames([tmp_path])


def test_broken_image_is_found_first(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for name in ("a", "b", "c"):
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
    whole = (tmp_path / "c.png").read_bytes()
    (tmp_path / "c.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"c\.png: cannot be decoded as an image"):
        open_frames([tmp_path])


def test_video_without_opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write_video(tmp_path / "street.avi", _colors(2))
    images = [_write_image(tmp_path / name, 0) for name in ("a.png", "b.png")]
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match=r"a video needs OpenCV: pip install 'segaware\[flow\]'"):
        open_frames([path])
    assert len(open_frames(images)) == 1
