"""Data sets by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from torch.utils.data import ConcatDataset, Dataset

from segaware.data.bsds500 import BSDS500
from segaware.data.camvid import CamVid
from segaware.data.coco import COCO
from segaware.data.palettes import palette_for
from segaware.data.reading import DataError
from segaware.data.sample import Sample, Transform
from segaware.data.sbd import VOCTrainAug
from segaware.data.scenes import Scenes
from segaware.data.voc import VOC, VOC_ANIMALS, VOC_CLASSES

DatasetName = Literal["scenes", "camvid", "bsds500", "voc", "voc_train_aug", "voc_animals", "voc_bsds500", "coco"]
"""Names of the data sets for segmentation and embeddings, as recipes and the command know them."""
Split = Literal["train", "val"]


def _voc_bsds500(root: Path, split: Split, transform: Transform | None) -> Dataset[Sample]:
    """Regions of both for an embedding: VOC's are objects, BSDS500's are parts of objects and of backgrounds too."""
    voc = VOC(root, split, transform)
    return ConcatDataset([voc, BSDS500(root, split, transform)]) if split == "train" else voc


def _voc_train_aug(root: Path, split: Split, transform: Transform | None) -> Dataset[Sample]:
    return VOCTrainAug(root, transform) if split == "train" else VOC(root, "val", transform)


def _coco(root: Path, split: Split, transform: Transform | None) -> Dataset[Sample]:
    """COCO is for pre-training: what it is scored on is VOC."""
    return COCO(root, "trainval2014", transform) if split == "train" else VOC(root, "val", transform)


class _OnDisk(NamedTuple):
    classes: tuple[str, ...]
    open: Callable[[Path, Split, Transform | None], Dataset[Sample]]


_ON_DISK: dict[str, _OnDisk] = {
    "camvid": _OnDisk(CamVid.classes, CamVid),
    "bsds500": _OnDisk((), BSDS500),
    "voc": _OnDisk(VOC_CLASSES, VOC),
    "voc_train_aug": _OnDisk(VOC_CLASSES, _voc_train_aug),
    "voc_animals": _OnDisk(VOC_ANIMALS, lambda root, split, transform: VOC(root, split, transform, VOC_ANIMALS)),
    "voc_bsds500": _OnDisk((), _voc_bsds500),
    "coco": _OnDisk(VOC_CLASSES, _coco),
}


class DatasetInfo(NamedTuple):
    """What is known of a data set without reading it.

    Attributes:
        classes: Class names in index order; empty if labels are regions without meaning.
        num_classes: Number of classes, or None.
        palette: uint8 RGB (256, 3), see `palette_for`.
    """

    classes: tuple[str, ...]
    num_classes: int | None
    palette: np.ndarray


def dataset_info(name: DatasetName) -> DatasetInfo:
    """Describe a data set.

    Args:
        name: One of `DatasetName`.

    Returns:
        Its class names, class count and palette.

    Raises:
        ValueError: The name is unknown.

    Example:
        >>> dataset_info("scenes").classes
        ('ground', 'stripes', 'checker', 'dots', 'grain', 'waves')
    """
    _check_name(name)
    classes = Scenes.classes if name == "scenes" else _ON_DISK[name].classes
    return DatasetInfo(classes, len(classes) or None, palette_for(name))


def build_dataset(
    name: DatasetName,
    split: Split,
    root: Path | None = None,
    transform: Transform | None = None,
    length: int = 1000,
    size: tuple[int, int] = (96, 96),
) -> Dataset[Sample]:
    """Open a data set.

    Args:
        name: One of `DatasetName`.
        split: `"train"` or `"val"`; for scenes, two series that share no scene.
        root: Folder that holds the data set's own folder; scenes need none.
        transform: Applied to each sample.
        length: Number of scenes; data sets on disk have their own.
        size: (height, width) of scenes in pixels; data sets on disk have their own.

    Returns:
        The data set.

    Raises:
        ValueError: `name` or `split` is unknown, or an argument of the scenes is out of range.
        DataError: The data set is on disk and `root` is None, or files are missing.
    """
    _check_name(name)
    if split not in ("train", "val"):
        raise ValueError(f"split must be 'train' or 'val', got {split!r}")
    if name == "scenes":
        return Scenes(length, size, seed=0 if split == "train" else 1, transform=transform)
    if root is None:
        raise DataError(f"data set {name!r} is read from disk: pass --data-root FOLDER or set SEGAWARE_DATA=FOLDER")
    return _ON_DISK[name].open(root, split, transform)


def _check_name(name: str) -> None:
    if name not in get_args(DatasetName):
        raise ValueError(f"name must be one of {', '.join(map(repr, get_args(DatasetName)))}, got {name!r}")
