"""MPI Sintel: scenes of an animated film (Butler et al. 2012)."""

import re
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from segaware.data.flow.files import read_flo
from segaware.data.flow.pairs import FlowPairs, Motion, Pair, check_size, find_folder
from segaware.data.flow.sample import FlowTransform
from segaware.data.folders import files_by_stem
from segaware.data.images import read_image
from segaware.data.reading import DataError
from segaware.data.registry import DatasetRecord, Split, register_dataset

Pass = Literal["clean", "final"]  # how the frames are rendered


class Sintel(FlowPairs):
    """The 1,041 pairs whose flow is public, 1024x436: the data set's `training` folder, which has no official split.

    Reads `training/PASS/SCENE/frame_NNNN.png`, and of the same scene and number `flow/*.flo`, `invalid/*.png` (not 0
    where the flow is not known) and `occlusions/*.png` (not 0 where occluded). That all files are there is checked
    here, at construction; their contents when they are read.

    Args:
        root: Folder that holds `sintel/`, `MPI-Sintel/` or `MPI-Sintel-complete/`, itself or in `flow/`.
        pass_name: How the frames are rendered, `"clean"` or `"final"`, the latter with blur and haze.
        transform: Applied to each sample.

    Raises:
        DataError: A folder or file is missing; on access, a file is broken or the files of a sample differ in size.
        ValueError: `pass_name` is unknown.
    """

    def __init__(self, root: str | Path, pass_name: Pass, transform: FlowTransform | None = None) -> None:
        if pass_name not in ("clean", "final"):
            raise ValueError(f"pass_name must be 'clean' or 'final', got {pass_name!r}")
        folder = find_folder(root, "sintel", "MPI-Sintel", "MPI-Sintel-complete") / "training"
        flows = [
            path
            for scene in sorted(folder.glob("flow/*"))
            for stem, path in files_by_stem(scene, (".flo",)).items()
            if re.fullmatch("frame_[0-9]{4}", stem)
        ]
        if not flows:
            raise DataError(f"{folder}: no such folder, or it holds no flow/SCENE/frame_NNNN.flo")
        super().__init__([_pair(folder, flow, pass_name) for flow in flows], transform)

    def _read_motion(self, pair: Pair) -> Motion:
        flow = read_flo(pair.flow)
        invalid, occluded = (_read_mask(path, flow, pair.flow) for path in pair.masks)
        return Motion(flow, ~invalid, occluded)


def _pair(folder: Path, flow: Path, pass_name: str) -> Pair:
    scene, frame = flow.parent.name, flow.stem
    following = f"frame_{int(frame.removeprefix('frame_')) + 1:04d}"
    images = folder / pass_name / scene
    masks = tuple(folder / kind / scene / f"{frame}.png" for kind in ("invalid", "occlusions"))
    return Pair(f"{scene}_{frame}", images / f"{frame}.png", images / f"{following}.png", flow, masks)


def _read_mask(path: Path, flow: np.ndarray, flow_path: Path) -> np.ndarray:
    mask = read_image(path)[..., 0] > 0
    check_size(mask, path, flow, flow_path)
    return mask


def _read_pass(pass_name: Pass, root: Path, split: Split, transform: FlowTransform | None) -> Sintel:
    return Sintel(root, pass_name, transform)


for _name in get_args(Pass):
    register_dataset(
        DatasetRecord(
            f"sintel_{_name}",
            "flow",
            partial(_read_pass, _name),
            "sintel/, MPI-Sintel/ or MPI-Sintel-complete/ with training/{clean,final}/SCENE/frame_NNNN.png, "
            "training/flow/SCENE/frame_NNNN.flo and training/{invalid,occlusions}/SCENE/frame_NNNN.png",
            splits=("val",),
        )
    )
