"""PASCAL VOC 2012 segmentation (Everingham et al. 2010)."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from segaware.constants import IGNORE_INDEX
from segaware.data.folders import Finder, check_listed, first_folder, read_names
from segaware.data.images import read_label
from segaware.data.labelled_images import LabelledImages
from segaware.data.palettes import class_palette, voc_palette
from segaware.data.registry import DatasetRecord, Split, check_split, register_dataset
from segaware.data.sample import Transform

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Names of PASCAL VOC's 21 classes, in the order of their indices."""

VOC_ANIMALS = ("background", "cat", "cow", "dog", "horse", "person", "sheep")
"""The classes with enough pixels where photographs of animals are all there is."""

VOC_LAYOUT = (
    "voc/ or VOCdevkit/VOC2012/ with JPEGImages/NAME.jpg, SegmentationClass/NAME.png (or SegmentationClassAug/) and "
    "ImageSets/Segmentation/{train,val}.txt"
)


_FOLDERS = ("voc", "VOCdevkit/VOC2012")


def voc_folder(root: str | Path) -> Path:
    """Return the folder of VOC 2012 below `root`: `voc`, or the archive's own `VOCdevkit/VOC2012`.

    Raises:
        DataError: If neither is there.
    """
    return first_folder(root, *_FOLDERS)


def read_voc_list(folder: Path, split: str) -> list[str]:
    """Return the names in VOC's list of a split, `ImageSets/Segmentation/SPLIT.txt`.

    Raises:
        DataError: If there is no such list, or it is empty.
    """
    return read_names(folder / "ImageSets" / "Segmentation" / f"{split}.txt", "VOC")


class VOC(LabelledImages):
    """Photographs with a class index for each pixel, 255 on the outlines of objects.

    Reads `JPEGImages/NAME.jpg` and `SegmentationClass/NAME.png` of the names in `ImageSets/Segmentation/SPLIT.txt`; a
    mask that is not there is read from `SegmentationClassAug`, where the extra masks of SBD are usually kept.
    Photographs may have any of `IMAGE_SUFFIXES`, and suffixes any case. That every name has both is checked here, at
    construction; the contents of a file when it is read.

    Args:
        root: Folder that holds `voc/` or `VOCdevkit/VOC2012/`.
        split: `"train"` or `"val"`.
        transform: Applied to each sample.
        classes: Names of the classes to keep, in the order of their new indices; pixels of others become 255.

    Raises:
        DataError: A folder, list or file is missing, or two files have one stem; on access, a file is broken or a label
            does not fit its image.
        ValueError: `split` or a class is unknown.
    """

    _folders: tuple[str, ...] = _FOLDERS

    def __init__(
        self,
        root: str | Path,
        split: Split,
        transform: Transform | None = None,
        classes: Sequence[str] = VOC_CLASSES,
    ) -> None:
        check_split(split)
        unknown = [name for name in classes if name not in VOC_CLASSES]
        if unknown:
            raise ValueError(f"classes must be among VOC's {', '.join(VOC_CLASSES)}, got {unknown[0]!r}")
        folder = first_folder(root, *self._folders)
        find = Finder()
        names = read_voc_list(folder, split)
        pairs = [(find(folder / "JPEGImages" / f"{name}.jpg"), _find_mask(folder, name, find)) for name in names]
        check_listed(chain(*pairs), f"the list of {split}")
        super().__init__(pairs, transform)
        self._index = np.full(256, IGNORE_INDEX, np.uint8)
        for new, name in enumerate(classes):
            self._index[VOC_CLASSES.index(name)] = new

    def _read_label(self, path: Path) -> np.ndarray:
        return self._index[read_label(path, len(VOC_CLASSES))]


def _find_mask(folder: Path, name: str, find: Finder) -> Path:
    """Return VOC's own mask, or the extra one where VOC has none."""
    own = find(folder / "SegmentationClass" / f"{name}.png", (".png",))
    return own if own.is_file() else find(folder / "SegmentationClassAug" / f"{name}.png", (".png",))


class _OfficialVal(VOC):
    """Photographs of VOC's official list of validation, kept apart where the lists in `voc/` are others."""

    _folders = ("voc_official_val",)


def _read_animals(root: Path, split: Split, transform: Transform | None) -> VOC:
    return VOC(root, split, transform, VOC_ANIMALS)


register_dataset(DatasetRecord("voc", "segmentation", VOC, VOC_LAYOUT, VOC_CLASSES, ground=True))
register_dataset(
    DatasetRecord(
        "voc_official",
        "segmentation",
        _OfficialVal,
        "voc_official_val/ with JPEGImages/NAME.jpg, SegmentationClass/NAME.png and ImageSets/Segmentation/val.txt",
        VOC_CLASSES,
        splits=("val",),
        ground=True,
    )
)
register_dataset(
    DatasetRecord(
        "voc_animals",
        "segmentation",
        _read_animals,
        VOC_LAYOUT,
        VOC_ANIMALS,
        class_palette(voc_palette()[[VOC_CLASSES.index(name) for name in VOC_ANIMALS]]),
        ground=True,
    )
)
