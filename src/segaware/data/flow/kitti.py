"""KITTI's streets, flow from a laser scanner: 2012 (Geiger et al. 2012) and 2015 (Menze and Geiger 2015)."""

import re
from pathlib import Path
from typing import Literal

from segaware.data.flow.files import read_kitti_flow
from segaware.data.flow.pairs import FlowPairs, Motion, Pair, check_size, find_folder
from segaware.data.flow.sample import FlowTransform
from segaware.data.folders import files_by_stem
from segaware.data.reading import DataError
from segaware.data.registry import DatasetRecord, register_dataset

_ARCHIVES = {2012: "data_stereo_flow", 2015: "data_scene_flow"}
_IMAGES = {2012: ("colored_0", "image_0"), 2015: ("image_2",)}  # image_0 is in gray


class KITTI(FlowPairs):
    """The 194 (2012) or 200 (2015) pairs whose flow is public: the `training` folder, which has no official split.

    Reads `training/image_2/NNNNNN_10.png` and `_11.png` (2012: `colored_0`, or `image_0` where that is missing) and
    `training/flow_occ/NNNNNN_10.png`, known for some of the pixels. With `training/flow_noc` there, what only
    `flow_occ` has is occluded; without, nothing is. That all files are there is checked here, at construction; their
    contents when they are read.

    Args:
        root: Folder that holds `kitti2012/` or `data_stereo_flow/`, or `kitti2015/` or `data_scene_flow/`, itself or in
            `flow/`.
        year: 2012 or 2015.
        transform: Applied to each sample.

    Raises:
        DataError: A folder or file is missing; on access, a file is broken or the files of a sample differ in size.
        ValueError: `year` is unknown.
        ModuleNotFoundError: On access, OpenCV is not installed.
    """

    def __init__(self, root: str | Path, year: Literal[2012, 2015], transform: FlowTransform | None = None) -> None:
        if year not in (2012, 2015):
            raise ValueError(f"year must be 2012 or 2015, got {year!r}")
        folder = find_folder(root, f"kitti{year}", _ARCHIVES[year]) / "training"
        stems = [stem for stem in files_by_stem(folder / "flow_occ", (".png",)) if re.fullmatch("[0-9].*_10", stem)]
        if not stems:
            raise DataError(f"{folder}: no such folder, or it holds no flow_occ/NNNNNN_10.png")
        images = next((folder / name for name in _IMAGES[year] if (folder / name).is_dir()), folder / _IMAGES[year][0])
        noc = folder / "flow_noc"
        super().__init__(
            [
                Pair(
                    stem,
                    images / f"{stem}.png",
                    images / f"{stem.removesuffix('_10')}_11.png",
                    folder / "flow_occ" / f"{stem}.png",
                    (noc / f"{stem}.png",) if noc.is_dir() else (),
                )
                for stem in stems
            ],
            transform,
        )

    def _read_motion(self, pair: Pair) -> Motion:
        flow, valid = read_kitti_flow(pair.flow)
        if not pair.masks:
            return Motion(flow, valid)
        _, visible = read_kitti_flow(pair.masks[0])
        check_size(visible, pair.masks[0], flow, pair.flow)
        return Motion(flow, valid, valid & ~visible)


register_dataset(
    DatasetRecord(
        "kitti2012",
        "flow",
        lambda root, split, transform: KITTI(root, 2012, transform),
        "kitti2012/ or data_stereo_flow/ with training/colored_0/NNNNNN_{10,11}.png (or image_0) and "
        "training/flow_occ/NNNNNN_10.png",
        splits=("val",),
    )
)
register_dataset(
    DatasetRecord(
        "kitti2015",
        "flow",
        lambda root, split, transform: KITTI(root, 2015, transform),
        "kitti2015/ or data_scene_flow/ with training/image_2/NNNNNN_{10,11}.png and training/flow_occ/NNNNNN_10.png",
        splits=("val",),
    )
)
