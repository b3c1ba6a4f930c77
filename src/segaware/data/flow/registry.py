"""Data sets of optical flow by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from torch.utils.data import Dataset

from segaware.data.flow.flying_chairs import FlyingChairs
from segaware.data.flow.flying_shapes import FlyingShapes, VOCPhotographs
from segaware.data.flow.flying_things3d import FlyingThings3D
from segaware.data.flow.kitti import KITTI
from segaware.data.flow.middlebury import Middlebury
from segaware.data.flow.sample import FlowSample, FlowTransform
from segaware.data.flow.sintel import Sintel
from segaware.data.reading import DataError

FlowDatasetName = Literal[
    "flying_shapes",
    "flying_voc",
    "flying_chairs",
    "flying_chairs_all",
    "flying_things3d_clean",
    "flying_things3d_final",
    "sintel_clean",
    "sintel_final",
    "kitti2012",
    "kitti2015",
    "middlebury",
]
"""Names of the data sets of optical flow, as recipes and the command know them."""
Split = Literal["train", "val"]

_SPLIT_BY_ITS_AUTHORS: dict[str, Callable[[Path, Split, FlowTransform | None], Dataset[FlowSample]]] = {
    "flying_chairs": FlyingChairs,
    "flying_things3d_clean": lambda root, split, transform: FlyingThings3D(root, split, "clean", transform),
    "flying_things3d_final": lambda root, split, transform: FlyingThings3D(root, split, "final", transform),
}
_WHOLE: dict[str, Callable[[Path, FlowTransform | None], Dataset[FlowSample]]] = {
    "flying_chairs_all": lambda root, transform: FlyingChairs(root, "all", transform),
    "sintel_clean": lambda root, transform: Sintel(root, "clean", transform),
    "sintel_final": lambda root, transform: Sintel(root, "final", transform),
    "kitti2012": lambda root, transform: KITTI(root, 2012, transform),
    "kitti2015": lambda root, transform: KITTI(root, 2015, transform),
    "middlebury": Middlebury,
}


def build_flow_dataset(
    name: FlowDatasetName,
    split: Split,
    root: Path | None = None,
    transform: FlowTransform | None = None,
    length: int = 1000,
    size: tuple[int, int] = (384, 512),
) -> Dataset[FlowSample]:
    """Open a data set of optical flow.

    Args:
        name: One of `FlowDatasetName`. `flying_shapes` and `flying_voc` are generated, the latter from VOC's
            photographs of the split.
        split: `"train"` or `"val"`. Data sets that their authors did not split are for scoring, so that nobody scores
            on what was trained on: their `"val"` is all of them, and they have no `"train"`. To train on one, open its
            class.
        root: Folder that holds the data set's own folder; `flying_shapes` needs none.
        transform: Applied to each sample.
        length: Number of generated pairs; data sets on disk have their own.
        size: (height, width) of generated pairs in pixels; data sets on disk have their own.

    Returns:
        The data set.

    Raises:
        ValueError: `name` or `split` is unknown, the data set has no such split, or an argument of the generated pairs
            is out of range.
        DataError: The data set is on disk and `root` is None, or files are missing.

    Example:
        >>> pairs = build_flow_dataset("flying_shapes", "val", length=2, size=(64, 96))
        >>> len(pairs), pairs[0].flow.shape
        (2, torch.Size([2, 64, 96]))
    """
    if name not in get_args(FlowDatasetName):
        raise ValueError(f"name must be one of {', '.join(map(repr, get_args(FlowDatasetName)))}, got {name!r}")
    if split not in ("train", "val"):
        raise ValueError(f"split must be 'train' or 'val', got {split!r}")
    if name in _WHOLE and split == "train":
        raise ValueError(f"split must be 'val' for data set {name!r}, which has no training split, got 'train'")
    seed = 0 if split == "train" else 1
    if name == "flying_shapes":
        return FlyingShapes(length, size, seed, transform=transform)
    if root is None:
        raise DataError(f"data set {name!r} is read from disk: pass --data-root FOLDER or set SEGAWARE_DATA=FOLDER")
    if name == "flying_voc":
        return FlyingShapes(length, size, seed, VOCPhotographs(root, split), transform)
    if name in _WHOLE:
        return _WHOLE[name](root, transform)
    return _SPLIT_BY_ITS_AUTHORS[name](root, split, transform)
