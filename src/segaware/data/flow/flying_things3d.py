"""FlyingThings3D: rendered objects on long random paths (Mayer et al. 2016)."""

import re
from functools import partial
from pathlib import Path
from typing import get_args

from segaware.data.flow.files import read_pfm
from segaware.data.flow.pairs import FlowPairs, Motion, Pair, find_folder
from segaware.data.flow.sample import FlowTransform
from segaware.data.flow.sintel import Pass
from segaware.data.folders import IMAGE_SUFFIXES, files_by_stem
from segaware.data.reading import DataError
from segaware.data.registry import DatasetRecord, Split, check_split, register_dataset


class FlyingThings3D(FlowPairs):
    """Frames of the left camera and the motion to the next frame, 960x540. What is occluded the data set does not say.

    Reads `frames_cleanpass/TRAIN/A/0000/left/0006.png` (or any of `IMAGE_SUFFIXES`) and
    `optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0006_L.pfm`, of all scenes whose frames are there.
    That a scene's files are there is checked here, at construction; their contents when they are read.

    Args:
        root: Folder that holds `flyingthings3d/` or `FlyingThings3D/`, itself or in `flow/`.
        split: `"train"`, or `"val"` for the data set's `TEST` folder.
        pass_name: How the frames are rendered, `"clean"` or `"final"`, the latter with blur of motion and of focus.
        transform: Applied to each sample.

    Raises:
        DataError: A folder or file is missing; on access, a file is broken or an image and its flow differ in size.
        ValueError: `split` or `pass_name` is unknown.
    """

    def __init__(
        self,
        root: str | Path,
        split: Split,
        pass_name: Pass,
        transform: FlowTransform | None = None,
    ) -> None:
        check_split(split)
        if pass_name not in ("clean", "final"):
            raise ValueError(f"pass_name must be 'clean' or 'final', got {pass_name!r}")
        folder = find_folder(root, "flyingthings3d", "FlyingThings3D")
        part = "TRAIN" if split == "train" else "TEST"
        frames = folder / f"frames_{pass_name}pass" / part
        pairs = []
        for scene in sorted(frames.glob("*/*")):
            listed = files_by_stem(scene / "left", IMAGE_SUFFIXES)
            images = [path for stem, path in listed.items() if re.fullmatch("[0-9]{4}", stem)]
            flows = folder / "optical_flow" / part / scene.parent.name / scene.name / "into_future" / "left"
            # The next frame is the next number, not the next file: a frame that is missing must not go unnoticed.
            pairs += [
                Pair(
                    f"{scene.parent.name}_{scene.name}_{image.stem}",
                    image,
                    image.with_stem(f"{int(image.stem) + 1:04d}"),
                    flows / f"OpticalFlowIntoFuture_{image.stem}_L.pfm",
                )
                for image in images[:-1]
            ]
        if not pairs:
            raise DataError(f"{frames}: no such folder, or it holds no A/0000/left/0006.png and following frames")
        super().__init__(pairs, transform)

    def _read_motion(self, pair: Pair) -> Motion:
        flow = read_pfm(pair.flow)
        if flow.ndim != 3:
            raise DataError(f"{pair.flow}: a flow has 3 channels, u, v and 0, found a PFM of one channel")
        return Motion(flow[..., :2])


def _read_pass(pass_name: Pass, root: Path, split: Split, transform: FlowTransform | None) -> FlyingThings3D:
    return FlyingThings3D(root, split, pass_name, transform)


for _name in get_args(Pass):
    register_dataset(
        DatasetRecord(
            f"flying_things3d_{_name}",
            "flow",
            partial(_read_pass, _name),
            "flyingthings3d/ or FlyingThings3D/ with frames_{cleanpass,finalpass}/{TRAIN,TEST}/{A,B,C}/NNNN/left/"
            "NNNN.png and optical_flow/{TRAIN,TEST}/{A,B,C}/NNNN/into_future/left/OpticalFlowIntoFuture_NNNN_L.pfm",
        )
    )
