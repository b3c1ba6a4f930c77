"""Photographs of everyday things with objects, parts, people or classes as labels, from sets of many kinds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segaware.constants import IGNORE_INDEX
from segaware.data.images import find_pairs, read_label
from segaware.data.labelled_images import LabelledImages
from segaware.data.registry import DatasetRecord, Split, check_split, register_dataset
from segaware.data.sample import Transform


class Everyday(LabelledImages):
    """Photographs of one set with a class, part, person or region for each pixel, 255 where unlabelled.

    Reads `root/everyday/SPLIT/SET/images/ID.jpg` (or any of `IMAGE_SUFFIXES`, in any case) and
    `root/everyday/SPLIT/SET/masks/ID.png`. That every image has its mask is checked here, at construction; the contents
    of a file when it is read.

    Args:
        root: Folder that holds `everyday/`.
        split: `"train"` or `"val"`.
        transform: Applied to each sample.
        folder: Name of the set's folder.
        class_of: The class of each value that a mask may hold, from 0; 255 is none of these, and stays.

    Raises:
        DataError: A folder or file is missing, or two files have one stem; on access, a file is broken or a mask holds
            another value or does not fit its image.
        ValueError: `split` is unknown.
    """

    def __init__(
        self,
        root: str | Path,
        split: Split,
        transform: Transform | None = None,
        *,
        folder: str,
        class_of: Sequence[int],
    ) -> None:
        check_split(split)
        place = Path(root) / "everyday" / split / folder
        super().__init__(find_pairs(place / "images", place / "masks", ".png"), transform)
        self._values = len(class_of)
        self._index = np.full(256, IGNORE_INDEX, np.uint8)
        self._index[: len(class_of)] = class_of

    def _read_label(self, path: Path) -> np.ndarray:
        return self._index[read_label(path, self._values)]


class EverydaySet(NamedTuple):
    """What is known of a set.

    Attributes:
        folder: Its folder.
        classes: Names of its classes in index order; empty if labels are regions.
        class_of: The class of each value of a mask.
        ground: Whether class 0 is all that is behind objects.
        splits: Those that there are.
    """

    folder: str
    classes: tuple[str, ...]
    class_of: tuple[int, ...]
    ground: bool
    splits: tuple[str, ...]

    def layout(self, masks: bool = True) -> str:
        """Return the layout of the files, as a record names it."""
        place = f"everyday/{'{train,val}' if len(self.splits) == 2 else self.splits[0]}/{self.folder}"
        return f"{place}/images/ID.jpg" + (f" and {place}/masks/ID.png" if masks else "")


_GARMENTS = (
    "ground", "accessories", "bag", "belt", "blazer", "blouse", "bodysuit", "boots", "bra", "bracelet", "cape",
    "cardigan", "clogs", "coat", "dress", "earrings", "flats", "glasses", "gloves", "hair", "hat", "heels", "hoodie",
    "intimate", "jacket", "jeans", "jumper", "leggings", "loafers", "necklace", "panties", "pants", "pumps", "purse",
    "ring", "romper", "sandals", "scarf", "shirt", "shoes", "shorts", "skin", "skirt", "sneakers", "socks", "stockings",
    "suit", "sunglasses", "sweater", "sweatshirt", "swimwear", "t-shirt", "tie", "tights", "top", "vest", "wallet",
    "watch", "wedges",
)  # fmt: skip
_FACE = (
    "ground", "skin", "nose", "eyeglasses", "left eye", "right eye", "left brow", "right brow", "left ear", "right ear",
    "mouth", "upper lip", "lower lip", "hair", "hat", "earring", "necklace", "neck", "cloth",
)  # fmt: skip
_FACADE = ("building", "car", "door", "pavement", "road", "sky", "vegetation", "window")
_PEOPLE = 16  # at most in a photograph
_ADE = tuple(map(str, range(150)))  # ADE20K's number; these are without names
_BOTH = ("train", "val")


def _as_stored(
    folder: str, classes: Sequence[str], ground: bool = True, splits: tuple[str, ...] = _BOTH
) -> EverydaySet:
    return EverydaySet(folder, tuple(classes), tuple(range(len(classes))), ground, splits)


def _common(folder: str, classes: Sequence[str], common: Sequence[int], ground: bool = True) -> EverydaySet:
    """Return a set whose other classes are one, the last: all borders stay but those between two of them."""
    class_of = [common.index(value) if value in common else len(common) for value in range(len(classes))]
    return EverydaySet(folder, (*(classes[value] for value in common), "other"), tuple(class_of), ground, _BOTH)


def _numbered(kind: str, count: int) -> list[str]:
    return ["ground", *(f"{kind} {number}" for number in range(1, count + 1))]


# Of `..._scored`, classes are what has a fifth of the photographs for training: the mean IoU of classes that one or two
# photographs show, and of those that only noise finds, would say little. People are numbered as they come, in few
# photographs beyond four.
EVERYDAY = {
    "duts": _as_stored("duts", ["ground", "object"]),
    "ecssd": _as_stored("ecssd", ["ground", "object"], splits=("val",)),
    "ade": _as_stored("ade", _ADE, ground=False),
    "ade_scored": _common("ade", _ADE, range(7), ground=False),
    "coco_panoptic": EverydaySet("coco", (), tuple(range(254)), False, ("train",)),
    "clothes": _as_stored("clothes", _GARMENTS),
    "clothes_scored": _common("clothes", _GARMENTS, (0, 1, 2, 3, 5, 13, 14, 19, 31, 33, 39, 41, 47)),
    "facades": EverydaySet("facades", _FACADE, (IGNORE_INDEX, *range(len(_FACADE))), False, _BOTH),
    "faces": _as_stored("faces", _FACE),
    "faces_scored": _common("faces", _FACE, [value for value in range(len(_FACE)) if value not in (3, 14, 16)]),
    "pedestrians": _as_stored("pedestrians", _numbered("person", _PEOPLE)),
    "pedestrians_scored": EverydaySet(
        "pedestrians", tuple(_numbered("person", 4)), (0, *(1 + k % 4 for k in range(_PEOPLE))), True, _BOTH
    ),
    "horses": _as_stored("horses", ["ground", "horse"], splits=("train",)),
    "butterflies": _as_stored("butterflies", _numbered("butterfly", 16), splits=("train",)),
    "sky": _as_stored("sky", ["ground", "sky"], splits=("train",)),
}
"""The sets by the names of their records."""

for _name, _set in EVERYDAY.items():
    register_dataset(
        DatasetRecord(
            _name,
            "segmentation",
            partial(Everyday, folder=_set.folder, class_of=_set.class_of),
            _set.layout(),
            _set.classes,
            splits=_set.splits,
            ground=_set.ground,
        )
    )
