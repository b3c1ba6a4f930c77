"""PASCAL VOC 2012 segmentation (Everingham et al. 2010)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from segaware.data.folders import Finder
from segaware.data.images import check_pair, read_image, read_label, to_sample
from segaware.data.reading import DataError, reading
from segaware.data.sample import IGNORE_INDEX, Sample, Transform

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Names of PASCAL VOC's 21 classes, in the order of their indices."""

VOC_ANIMALS = ("background", "cat", "cow", "dog", "horse", "person", "sheep")
"""The classes with enough pixels where photographs of animals are all there is."""


def voc_folder(root: str | Path) -> Path:
    """Return the folder of VOC 2012 below `root`: `voc`, or the archive's own `VOCdevkit/VOC2012`.

    Raises:
        DataError: If neither is there.
    """
    folders = [Path(root) / "voc", Path(root) / "VOCdevkit" / "VOC2012"]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise DataError(f"{folders[0]}: no such folder, nor {folders[1]}")


def read_voc_list(folder: Path, split: str) -> list[str]:
    """Return the names in VOC's list of a split, `ImageSets/Segmentation/SPLIT.txt`.

    Raises:
        DataError: If there is no such list, or it is empty.
    """
    path = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not path.is_file():
        raise DataError(f"{path}: no such file; VOC names the images of a split there")
    with reading(path, "a list of names"):
        names = path.read_text().split()
    if not names:
        raise DataError(f"{path}: names no image")
    return names


class VOC(Dataset[Sample]):
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

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "val"],
        transform: Transform | None = None,
        classes: Sequence[str] = VOC_CLASSES,
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split must be 'train' or 'val', got {split!r}")
        unknown = [name for name in classes if name not in VOC_CLASSES]
        if unknown:
            raise ValueError(f"classes must be among VOC's {', '.join(VOC_CLASSES)}, got {unknown[0]!r}")
        folder = voc_folder(root)
        find = Finder()
        self.pairs = [
            (find(folder / "JPEGImages" / f"{name}.jpg"), _find_mask(folder, name, find))
            for name in read_voc_list(folder, split)
        ]
        missing = [path for pair in self.pairs for path in pair if not path.is_file()]
        if missing:
            raise DataError(f"{missing[0]}: no such file, but the list of {split} names it; {len(missing)} are missing")
        self.transform = transform
        self._index = np.full(256, IGNORE_INDEX, np.uint8)
        for new, name in enumerate(classes):
            self._index[VOC_CLASSES.index(name)] = new

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        image_path, label_path = self.pairs[index]
        image, label = read_image(image_path), read_label(label_path, len(VOC_CLASSES))
        check_pair(image, label, label_path)
        sample = to_sample(image, self._index[label], image_path.stem)
        return self.transform(sample) if self.transform else sample


def _find_mask(folder: Path, name: str, find: Finder) -> Path:
    """Return VOC's own mask, or the extra one where VOC has none."""
    own = find(folder / "SegmentationClass" / f"{name}.png", (".png",))
    return own if own.is_file() else find(folder / "SegmentationClassAug" / f"{name}.png", (".png",))
