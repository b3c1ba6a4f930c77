"""COCO's objects (Lin et al. 2014) as VOC's classes, for training before VOC."""

import json
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from torch.utils.data import Dataset

from segaware.constants import IGNORE_INDEX
from segaware.data.coco_masks import decode_mask
from segaware.data.folders import Finder, check_listed
from segaware.data.images import check_size, read_image, to_sample
from segaware.data.reading import DataError, reading
from segaware.data.registry import DatasetRecord, Split, register_dataset
from segaware.data.sample import Sample, Transform
from segaware.data.voc import VOC, VOC_CLASSES, VOC_LAYOUT

COCOSplit = Literal["train2014", "val2014", "train2017", "val2017", "trainval2014"]

# The other fourteen have one name in both data sets.
_VOC_NAMES = {
    "airplane": "aeroplane",
    "couch": "sofa",
    "dining table": "diningtable",
    "motorcycle": "motorbike",
    "potted plant": "pottedplant",
    "tv": "tvmonitor",
}


class _Object(NamedTuple):
    value: int  # VOC's class index, or IGNORE_INDEX for a crowd
    area: float
    segmentation: Any  # polygons, each x y x y ..., or run lengths


class _Image(NamedTuple):
    path: Path
    size: tuple[int, int]
    objects: list[_Object]  # crowds first, then from the largest to the smallest


def _compact(segmentation: Any) -> Any:
    """Turn polygons into arrays: a third of the memory of lists, and memory that forked workers go on sharing."""
    return [np.array(polygon) for polygon in segmentation] if isinstance(segmentation, list) else segmentation


def _read_split(folder: Path, split: str) -> list[_Image]:
    """List the images of one COCO split that show an object of VOC's classes, in order of id."""
    path = folder / "annotations" / f"instances_{split}.json"
    for needed, exists in ((path, path.is_file()), (folder / split, (folder / split).is_dir())):
        if not exists:
            raise DataError(f"{needed}: no such file or folder, but split {split!r} is read from there")
    with reading(path, "COCO instances", "is not a file of COCO instances"):
        content = json.loads(path.read_bytes())
        voc_names = {item["id"]: _VOC_NAMES.get(item["name"], item["name"]) for item in content["categories"]}
        indices = {key: VOC_CLASSES.index(name) for key, name in voc_names.items() if name in VOC_CLASSES}
        images = {
            image["id"]: _Image(folder / split / image["file_name"], (image["height"], image["width"]), [])
            for image in content["images"]
        }
        for annotation in content["annotations"]:
            value = IGNORE_INDEX if annotation["iscrowd"] else indices.get(annotation["category_id"])
            if value is not None:
                if not math.isfinite(annotation["area"]):  # objects could not be sorted by it
                    raise ValueError(f"an object of image {annotation['image_id']} has area {annotation['area']}")
                segmentation = _compact(annotation["segmentation"])
                images[annotation["image_id"]].objects.append(_Object(value, annotation["area"], segmentation))
        for image in images.values():
            image.objects.sort(key=lambda item: (item.value != IGNORE_INDEX, -item.area))
        find = Finder()
        shown = [
            images[key]._replace(path=find(images[key].path))
            for key in sorted(images)
            if any(item.value != IGNORE_INDEX for item in images[key].objects)
        ]
    check_listed((image.path for image in shown), path.name)
    return shown


def _paint(image: _Image, height: int, width: int) -> np.ndarray:
    """Paint the objects of an image over each other in their order, uint8 (H, W)."""
    label = np.zeros((height, width), np.uint8)
    for item in image.objects:
        with reading(image.path, "shapes", "an annotation of this image holds no valid shape"):
            label[decode_mask(item.segmentation, height, width)] = item.value
    return label


class COCO(Dataset[Sample]):
    """Photographs with one of VOC's 21 class indices for each pixel, 255 on crowds.

    Reads `root/coco/annotations/instances_SPLIT.json` and the images of `root/coco/SPLIT/` that it names (with any of
    `IMAGE_SUFFIXES`, in any case).
    Only images with at least one object of VOC's twenty classes, crowds apart, are kept. COCO's other sixty classes
    are background, and not painted over VOC's: VOC takes what lies close on an object, clothes or plates, for a part of
    it. Where objects overlap, the smaller one is on top; crowds of any class are below all.

    That the images exist is checked here, at construction; their contents and shapes of objects when they are read.

    Args:
        root: Folder that holds `coco/`.
        split: COCO's own, or `"trainval2014"`, both of 2014, on which DeepLab and its successors are pre-trained. The
            splits of 2017 cut the same images another way.
        transform: Applied to each sample.

    Raises:
        DataError: A folder or file is missing, or the annotations are broken or have none of VOC's classes; on access,
            an image or a shape is broken, or the image has not the size that the annotations tell.
        ValueError: `split` is unknown.
    """

    classes = VOC_CLASSES
    num_classes = len(VOC_CLASSES)

    def __init__(self, root: str | Path, split: COCOSplit, transform: Transform | None = None) -> None:
        if split not in get_args(COCOSplit):
            raise ValueError(f"split must be one of {', '.join(map(repr, get_args(COCOSplit)))}, got {split!r}")
        parts = ("train2014", "val2014") if split == "trainval2014" else (split,)
        self.images = [image for part in parts for image in _read_split(Path(root) / "coco", part)]
        if not self.images:
            raise DataError(f"{Path(root) / 'coco'}: no image of split {split!r} shows an object of VOC's classes")
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        listed = self.images[index]
        image = read_image(listed.path)
        check_size(listed.size, image, listed.path)
        sample = to_sample(image, _paint(listed, *image.shape[:2]), listed.path.stem)
        return self.transform(sample) if self.transform else sample


def _read_coco(root: Path, split: Split, transform: Transform | None) -> Dataset[Sample]:
    """COCO is for pre-training: what it is scored on is VOC."""
    return COCO(root, "trainval2014", transform) if split == "train" else VOC(root, "val", transform)


register_dataset(
    DatasetRecord(
        "coco",
        "segmentation",
        _read_coco,
        "coco/{train2014,val2014}/ and coco/annotations/instances_{train2014,val2014}.json; and " + VOC_LAYOUT,
        VOC_CLASSES,
        ground=True,
    )
)
