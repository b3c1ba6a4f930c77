"""COCO's objects (Lin et al. 2014) as VOC's classes, for training before VOC."""

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from torch.utils.data import Dataset

from segaware.constants import IGNORE_INDEX
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


def _mask_module() -> ModuleType:
    try:
        from pycocotools import mask
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("reading COCO needs pycocotools: pip install 'segaware[coco]'") from error
    return mask


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
            label[_decode(item.segmentation, height, width)] = item.value
    return label


def _decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Turn polygons or run lengths into a boolean (H, W) mask."""
    if isinstance(segmentation, list):
        if not segmentation:
            raise ValueError("a polygon needs at least three points, got no polygon")
        for polygon in segmentation:
            _check_polygon(polygon, height, width)
        mask = _mask_module()
        return mask.decode(mask.merge(mask.frPyObjects(segmentation, height, width))) > 0
    size, counts = segmentation["size"], segmentation["counts"]
    if list(size) != [height, width]:
        raise ValueError(f"run lengths of size {size} in an image of {[height, width]}")
    if isinstance(counts, str):
        counts = _unpack(counts)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("run lengths must be whole numbers of at least 0")
    if sum(counts) != height * width:
        raise ValueError(f"run lengths cover {sum(counts)} of {height * width} pixels")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def _check_polygon(polygon: np.ndarray, height: int, width: int) -> None:
    """Raise a ValueError where pycocotools would end the process, paint at random, or take the numbers for a box."""
    if polygon.ndim != 1 or polygon.dtype.kind not in "iuf" or polygon.size % 2 or polygon.size < 6:
        raise ValueError(f"a polygon needs at least three points, each x and y, got {polygon.size} values")
    longest = max(height, width)
    if not ((polygon >= -longest) & (polygon <= 2 * longest)).all():  # nor is NaN
        raise ValueError(f"a polygon reaches far out of its image of {[height, width]}, or is not finite")
    # pycocotools takes memory for every fifth of a pixel along an outline.
    points = polygon.reshape(-1, 2).astype(np.float64)
    if np.abs(points - np.roll(points, 1, axis=0)).sum() > 1000 * (height + width):
        raise ValueError("the outline of a polygon is longer than a thousand times that of its image")


def _unpack(text: str) -> list[int]:
    """Return the run lengths in a string of COCO's.

    Each is a number in base 32, lowest digit first: characters from "0" on hold five bits, a sixth says that more
    follow, and the highest bit of the last is the sign. From the fourth on, numbers are differences to the one before
    the last, which belongs to the same kind of run.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 60:
            raise ValueError(f"run lengths hold {character!r} where it can be no part of a number")
        number |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("run lengths end inside a number")
    return counts


class COCO(Dataset[Sample]):
    """Photographs with one of VOC's 21 class indices for each pixel, 255 on crowds.

    Reads `root/coco/annotations/instances_SPLIT.json` and the images of `root/coco/SPLIT/` that it names (with any of
    `IMAGE_SUFFIXES`, in any case), with the extra `segaware[coco]`.
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
        ModuleNotFoundError: pycocotools is not installed.
        ValueError: `split` is unknown.
    """

    classes = VOC_CLASSES
    num_classes = len(VOC_CLASSES)

    def __init__(self, root: str | Path, split: COCOSplit, transform: Transform | None = None) -> None:
        if split not in get_args(COCOSplit):
            raise ValueError(f"split must be one of {', '.join(map(repr, get_args(COCOSplit)))}, got {split!r}")
        _mask_module()
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
