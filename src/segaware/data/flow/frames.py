"""Consecutive frames of image files, a folder or a video, read one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice, pairwise
from pathlib import Path
from types import ModuleType

import numpy as np

from segaware.data.folders import IMAGE_SUFFIXES, files_by_stem, has_suffix
from segaware.data.images import read_image
from segaware.data.reading import DataError, reading
from segaware.extras import import_extra

VIDEO_SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".webm")


@dataclass(frozen=True)
class Frames:
    """Pairs of consecutive frames. Iterating yields (name, image1, image2), and holds no more than these two frames.

    A name is fit for a file; the images are uint8 RGB (H, W, 3), all of one size.

    Attributes:
        frame_count: Number of frames. A video's is what its container says, which may be wrong: iterating yields all
            that can be decoded.
        read: Begins to read the frames: yields each with its name.
        left_out: What else is in the folder.
        files: The files that are read: images in the order of time, or a video.
    """

    frame_count: int
    read: Callable[[], Iterator[tuple[str, np.ndarray]]]
    left_out: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return self.frame_count - 1

    def names(self) -> list[str]:
        """Return the names of all pairs, without reading them."""
        if len(self.files) > 1:
            return [path.stem for path in self.files[:-1]]
        return [_frame_name(self.files[0], i) for i in range(len(self))]

    def __iter__(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for (name, image1), (_, image2) in pairwise(self.read()):
            yield name, image1, image2


def open_frames(sources: Sequence[Path]) -> Frames:
    """Open a sequence of frames, whose motion from each to the next shall be estimated.

    Images are all decoded once, so that a broken one is found before any work is done; of a video, the first two.

    Args:
        sources: Two or more image files, in the order of time; or one folder of images, which are taken in the order
            of their names, numbers in them by value (frame9 before frame10); or one video file (.avi, .gif, .m4v,
            .mkv, .mov, .mp4, .webm), which is read through OpenCV.

    Returns:
        The pairs. That of the images NAME.png and the next is called NAME; that of frame i of VIDEO.mp4, counted from
        0, and the next is called VIDEO_i, with six digits.

    Raises:
        DataError: If there is no such file or folder, there are fewer than two frames, one cannot be decoded, they are
            of different size, two pairs would have one name, or a file is of another kind.
        ModuleNotFoundError: If OpenCV is not installed, for a video.

    Example:
        >>> import tempfile
        >>> from segaware.data.images import write_png
        >>> folder = Path(tempfile.mkdtemp())
        >>> for i in (2, 9, 10):
        ...     write_png(folder / f"frame{i}.png", np.full((4, 6, 3), i, np.uint8))
        >>> [(name, int(image1[0, 0, 0]), int(image2[0, 0, 0])) for name, image1, image2 in open_frames([folder])]
        [('frame2', 2, 9), ('frame9', 9, 10)]
    """
    for path in sources:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
    if len(sources) == 1 and sources[0].is_dir():
        return _open_folder(sources[0])
    for path in sources:
        if path.is_dir():
            raise DataError(f"{path} is a folder: give one folder alone, or image files")
        if not has_suffix(path, IMAGE_SUFFIXES + VIDEO_SUFFIXES):
            raise DataError(
                f"{path}: neither an image ({', '.join(IMAGE_SUFFIXES)}) nor a video ({', '.join(VIDEO_SUFFIXES)})"
            )
    videos = [path for path in sources if has_suffix(path, VIDEO_SUFFIXES)]
    if videos and len(sources) > 1:
        raise DataError(f"{videos[0]} is a video: give one video alone, or image files")
    return _open_video(videos[0]) if videos else _open_images(sources)


def _open_folder(folder: Path) -> Frames:
    entries = sorted(folder.iterdir(), key=lambda path: _in_order(path.name))
    images = sorted(files_by_stem(folder, IMAGE_SUFFIXES).values(), key=lambda path: _in_order(path.name))
    if len(images) < 2:
        raise DataError(f"{folder}: want at least two images ({', '.join(IMAGE_SUFFIXES)}), got {len(images)}")
    return _open_images(images, tuple(path for path in entries if path not in images))


def _in_order(name: str) -> list[str | int]:
    """Return a sorting key that compares runs of digits by value."""
    parts: list[str | int] = [*re.split(r"(\d+)", name)]
    parts[1::2] = [int(digits) for digits in parts[1::2]]
    return parts


def _open_images(paths: Sequence[Path], left_out: tuple[Path, ...] = ()) -> Frames:
    if len(paths) < 2:
        raise DataError(f"flow needs at least two images, got {', '.join(map(str, paths)) or 'none'}")
    named: dict[str, Path] = {}
    for path in paths[:-1]:
        if path.stem in named:
            raise DataError(f"the flow of {named[path.stem]} and of {path} would be written to the same file")
        named[path.stem] = path
    sizes = [read_image(path).shape[:2] for path in paths]
    for path, (height, width) in zip(paths, sizes, strict=True):
        if (height, width) != sizes[0]:
            raise DataError(
                f"frames must be of one size, got {paths[0]} of {sizes[0][1]}x{sizes[0][0]} pixels and "
                f"{path} of {width}x{height}"
            )
    return Frames(len(paths), lambda: ((path.stem, read_image(path)) for path in paths), left_out, tuple(paths))


def _open_video(path: Path) -> Frames:
    cv2 = _opencv()
    with reading(path, "a video", "cannot be decoded as a video"):
        found = sum(1 for _ in islice(_video_frames(path), 2))
    if found == 0:
        raise DataError(f"{path}: cannot be decoded as a video")
    if found == 1:
        raise DataError(f"{path}: a video needs at least two frames, got 1")
    video = cv2.VideoCapture(str(path))
    promised = int(video.get(cv2.CAP_PROP_FRAME_COUNT))  # may be negative
    video.release()
    return Frames(max(promised, found), lambda: _video_frames(path), files=(path,))


def _video_frames(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Read a video. OpenCV turns frames as the file says, and brings all to the size of the first."""
    cv2 = _opencv()
    video = cv2.VideoCapture(str(path))
    try:
        for i in count():
            there, frame = video.read()
            if not there:
                return
            yield _frame_name(path, i), cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        video.release()


def _frame_name(video: Path, index: int) -> str:
    return f"{video.stem}_{index:06d}"


def _opencv() -> ModuleType:
    return import_extra("cv2", "reading a video needs OpenCV", "flow")
