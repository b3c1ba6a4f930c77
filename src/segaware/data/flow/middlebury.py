"""Middlebury's optical flow (Baker et al. 2011)."""

from pathlib import Path

from segaware.data.flow.files import read_flo
from segaware.data.flow.pairs import FlowPairs, Motion, Pair, find_folder
from segaware.data.flow.sample import FlowTransform
from segaware.data.folders import files_by_stem
from segaware.data.reading import DataError
from segaware.data.registry import DatasetRecord, register_dataset


class Middlebury(FlowPairs):
    """The eight pairs whose flow is public. What is occluded the data set does not say.

    Reads `other-data/NAME/frame10.png`, `frame11.png` and `other-gt-flow/NAME/flow10.flo`, of all names that have a
    flow. That their images are there is checked here, at construction; the contents of a file when it is read.

    Args:
        root: Folder that holds `middlebury/`, itself or in `flow/`.
        transform: Applied to each sample.

    Raises:
        DataError: A folder or file is missing; on access, a file is broken or an image and its flow differ in size.
    """

    def __init__(self, root: str | Path, transform: FlowTransform | None = None) -> None:
        folder = find_folder(root, "middlebury")
        listed = [files_by_stem(scene, (".flo",)) for scene in sorted(folder.glob("other-gt-flow/*"))]
        flows = [files["flow10"] for files in listed if "flow10" in files]
        if not flows:
            raise DataError(f"{folder}: holds no other-gt-flow/NAME/flow10.flo")
        images = [folder / "other-data" / flow.parent.name for flow in flows]
        super().__init__(
            [
                Pair(image.name, image / "frame10.png", image / "frame11.png", flow)
                for image, flow in zip(images, flows, strict=True)
            ],
            transform,
        )

    def _read_motion(self, pair: Pair) -> Motion:
        return Motion(read_flo(pair.flow))


register_dataset(
    DatasetRecord(
        "middlebury",
        "flow",
        lambda root, split, transform: Middlebury(root, transform),
        "middlebury/ with other-data/NAME/frame{10,11}.png and other-gt-flow/NAME/flow10.flo",
        splits=("val",),
    )
)
