"""Semantic Boundaries Dataset: VOC's classes on some 11,000 photographs of VOC's (Hariharan et al. 2011)."""

from itertools import chain
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from segaware.data.folders import Finder, check_listed, first_folder, has_suffix, read_names
from segaware.data.images import read_label
from segaware.data.labelled_images import LabelledImages
from segaware.data.mat_files import read_struct_field
from segaware.data.reading import DataError
from segaware.data.registry import DatasetRecord, Split, check_split, register_dataset
from segaware.data.sample import Sample, Transform
from segaware.data.voc import VOC, VOC_CLASSES, VOC_LAYOUT, read_voc_list, voc_folder


def sbd_folder(root: str | Path) -> Path:
    """Return the folder of SBD below `root`: `sbd`, or the archive's own `benchmark_RELEASE/dataset`.

    Raises:
        DataError: If neither is there.
    """
    return first_folder(root, "sbd", "benchmark_RELEASE/dataset")


def _read_mask(path: Path) -> np.ndarray:
    """Read the class indices of a `cls/NAME.mat`, uint8 (H, W) in 0..20."""
    mask = read_struct_field(path, "GTcls", "Segmentation")
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise DataError(f"{path}: 'Segmentation' must be uint8 (H, W), got {mask.dtype} {mask.shape}")
    if mask.max(initial=0) >= len(VOC_CLASSES):
        raise DataError(f"{path}: classes must be in 0..{len(VOC_CLASSES) - 1}, got {mask.max()}")
    return mask


class _VOCOrSBD(LabelledImages):
    """Pairs with masks of either data set."""

    classes = VOC_CLASSES
    num_classes = len(VOC_CLASSES)

    def __init__(self, pairs: list[tuple[Path, Path]], transform: Transform | None) -> None:
        check_listed(chain(*pairs), "a list")
        super().__init__(pairs, transform)

    def _read_label(self, path: Path) -> np.ndarray:
        return _read_mask(path) if has_suffix(path, (".mat",)) else read_label(path, len(VOC_CLASSES))


class SBD(_VOCOrSBD):
    """Photographs with one of VOC's 21 class indices for each pixel, and no void outlines.

    Reads `img/NAME.jpg` (or any of `IMAGE_SUFFIXES`, in any case) and `cls/NAME.mat` of the names in `SPLIT.txt`. That
    every name has both is checked here, at construction; the contents of a file when it is read. Both splits share
    images with VOC's `val`: what is scored there must be trained on `VOCTrainAug`.

    Args:
        root: Folder that holds `sbd/` or `benchmark_RELEASE/dataset/`.
        split: `"train"` (8,498 images) or `"val"` (2,857).
        transform: Applied to each sample.

    Raises:
        DataError: A folder, list or file is missing; on access, a file is broken or a mask does not fit its image.
        ValueError: `split` is unknown.
    """

    def __init__(self, root: str | Path, split: Split, transform: Transform | None = None) -> None:
        check_split(split)
        folder = sbd_folder(root)
        find = Finder()
        names = read_names(folder / f"{split}.txt", "SBD")
        super().__init__([_sbd_pair(folder, name, find) for name in names], transform)


class VOCTrainAug(_VOCOrSBD):
    """The 10,582 images known as `train_aug`: VOC's `train` and both splits of SBD, less VOC's `val`.

    A mask is VOC's own, with its void outlines, where `SegmentationClass` has one, and SBD's elsewhere; the photograph
    comes from the same data set as its mask. Every name occurs once, and names are in sorted order.

    Args:
        root: Folder that holds both data sets, see `VOC` and `SBD`.
        transform: Applied to each sample.

    Raises:
        DataError: As in `VOC` and `SBD`.
    """

    def __init__(self, root: str | Path, transform: Transform | None = None) -> None:
        voc, sbd = voc_folder(root), sbd_folder(root)
        names = set(read_voc_list(voc, "train"))
        names.update(*(read_names(sbd / f"{split}.txt", "SBD") for split in ("train", "val")))
        pairs, find = [], Finder()
        for name in sorted(names - {*read_voc_list(voc, "val")}):
            own_mask = find(voc / "SegmentationClass" / f"{name}.png", (".png",))
            own_pair = find(voc / "JPEGImages" / f"{name}.jpg"), own_mask
            pairs.append(own_pair if own_mask.is_file() else _sbd_pair(sbd, name, find))
        super().__init__(pairs, transform)


def _sbd_pair(folder: Path, name: str, find: Finder) -> tuple[Path, Path]:
    return find(folder / "img" / f"{name}.jpg"), find(folder / "cls" / f"{name}.mat", (".mat",))


def _read_train_aug(root: Path, split: Split, transform: Transform | None) -> Dataset[Sample]:
    return VOCTrainAug(root, transform) if split == "train" else VOC(root, "val", transform)


register_dataset(
    DatasetRecord(
        "voc_train_aug",
        "segmentation",
        _read_train_aug,
        f"{VOC_LAYOUT}; and sbd/ or benchmark_RELEASE/dataset/ with img/NAME.jpg, cls/NAME.mat and {{train,val}}.txt",
        VOC_CLASSES,
        ground=True,
    )
)
