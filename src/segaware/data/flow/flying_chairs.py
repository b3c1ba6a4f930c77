"""Flying Chairs: rendered chairs before photographs (Dosovitskiy et al. 2015)."""

import re
from pathlib import Path
from typing import Literal

from segaware.data.flow.files import read_flo
from segaware.data.flow.pairs import FlowPairs, Motion, Pair, find_folder
from segaware.data.flow.sample import FlowTransform
from segaware.data.folders import files_by_stem
from segaware.data.reading import DataError, reading
from segaware.data.registry import DatasetRecord, register_dataset

_SPLIT_FILE = "FlyingChairs_train_val.txt"
_MARKS = {"train": "1", "val": "2"}


class FlyingChairs(FlowPairs):
    """22,872 pairs in full. The flow is known everywhere; what is occluded the data set does not say.

    Reads `NUMBER_img1.ppm`, `NUMBER_img2.ppm` and `NUMBER_flow.flo`. The split is that of the authors'
    `FlyingChairs_train_val.txt`, one line for each pair, 1 for training and 2 for validation; it is looked for beside
    the pairs, one folder above, and in `root`. That all files are there is checked here, at construction; their
    contents when they are read.

    Args:
        root: Folder that holds `flyingchairs/` or `FlyingChairs_release/data/`, itself or in `flow/`.
        split: `"train"`, `"val"`, or `"all"`, which needs no split file.
        transform: Applied to each sample.

    Raises:
        DataError: A folder or file is missing, or the split file does not fit the pairs; on access, a file is broken
            or an image and its flow differ in size.
        ValueError: `split` is unknown.
    """

    def __init__(
        self, root: str | Path, split: Literal["train", "val", "all"], transform: FlowTransform | None = None
    ) -> None:
        if split not in ("train", "val", "all"):
            raise ValueError(f"split must be 'train', 'val' or 'all', got {split!r}")
        folder = find_folder(root, "flyingchairs", "FlyingChairs_release/data")
        stems = [stem for stem in files_by_stem(folder, (".flo",)) if re.fullmatch("[0-9].*_flow", stem)]
        numbers = sorted(stem.removesuffix("_flow") for stem in stems)
        if not numbers:
            raise DataError(f"{folder}: holds no NUMBER_flow.flo")
        if split != "all":
            marks = _read_split([folder / _SPLIT_FILE, folder.parent / _SPLIT_FILE, Path(root) / _SPLIT_FILE], numbers)
            numbers = [number for number, mark in zip(numbers, marks, strict=True) if mark == _MARKS[split]]
        super().__init__(
            [
                Pair(
                    number,
                    folder / f"{number}_img1.ppm",
                    folder / f"{number}_img2.ppm",
                    folder / f"{number}_flow.flo",
                )
                for number in numbers
            ],
            transform,
        )

    def _read_motion(self, pair: Pair) -> Motion:
        return Motion(read_flo(pair.flow))


def _read_split(paths: list[Path], numbers: list[str]) -> list[str]:
    """Return the mark of each pair, "1" or "2", from the first of these files that is there."""
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise DataError(
            f"{paths[0]}: no such file, nor {paths[1]}, nor {paths[2]}; it tells training pairs from validation pairs "
            "(split 'all' needs none)"
        )
    with reading(path, "a list of marks"):
        marks = path.read_text().split()
    if len(marks) != len(numbers):
        raise DataError(f"{path}: marks {len(marks)} pairs, but {len(numbers)} are there (split 'all' takes any)")
    if set(marks) != set(_MARKS.values()):
        raise DataError(f"{path}: its lines must be 1 (training) and 2 (validation), found {sorted(set(marks))[:5]}")
    return marks


_LAYOUT = "flyingchairs/ or FlyingChairs_release/data/ with NUMBER_img1.ppm, NUMBER_img2.ppm and NUMBER_flow.flo"
register_dataset(DatasetRecord("flying_chairs", "flow", FlyingChairs, f"{_LAYOUT}; and {_SPLIT_FILE}"))
register_dataset(
    DatasetRecord(
        "flying_chairs_all",
        "flow",
        lambda root, split, transform: FlyingChairs(root, "all", transform),
        _LAYOUT,
        splits=("val",),
    )
)
