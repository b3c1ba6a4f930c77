"""CamVid street video with the eleven classes of SegNet (Brostow et al. 2009, Badrinarayanan et al. 2017)."""

from pathlib import Path

import numpy as np

from segaware.data.images import find_pairs, read_label
from segaware.data.labelled_images import LabelledImages
from segaware.data.palettes import class_palette
from segaware.data.registry import DatasetRecord, Split, check_split, register_dataset
from segaware.data.sample import Transform

_COLOURS = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}


class CamVid(LabelledImages):
    """Street scenes with a class index for each pixel, 255 where unlabelled.

    Reads `root/camvid/images/SPLIT/NAME.jpg` (or any of `IMAGE_SUFFIXES`, in any case) and
    `root/camvid/labels/SPLIT/NAME.png`. That every image has its label is checked here, at construction; the contents
    of a file when it is read.

    Args:
        root: Folder that holds `camvid/`.
        split: `"train"` or `"val"`.
        transform: Applied to each sample.

    Raises:
        DataError: A folder or file is missing, or two files have one stem; on access, a file is broken or a label does
            not fit its image.
        ValueError: `split` is unknown.
    """

    classes = tuple(_COLOURS)
    num_classes = len(_COLOURS)

    def __init__(self, root: str | Path, split: Split, transform: Transform | None = None) -> None:
        check_split(split)
        folder = Path(root) / "camvid"
        super().__init__(find_pairs(folder / "images" / split, folder / "labels" / split, ".png"), transform)

    def _read_label(self, path: Path) -> np.ndarray:
        return read_label(path, self.num_classes)


register_dataset(
    DatasetRecord(
        "camvid",
        "segmentation",
        CamVid,
        layout="camvid/images/{train,val}/NAME.jpg and camvid/labels/{train,val}/NAME.png",
        classes=CamVid.classes,
        palette=class_palette(list(_COLOURS.values())),
        tolerance=1,
    )
)
