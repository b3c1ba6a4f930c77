"""COCO's objects (Lin et al. 2014) as VOC's classes, for training before VOC."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from torch.utils.data import Dataset

from segaware.data.images import check_pair, read_image, to_sample
from segaware.data.reading import DataError
from segaware.data.sample import IGNORE_INDEX, Sample, Transform
from segaware.data.voc import VOC_CLASSES

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
    try:
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
                segmentation = _compact(annotation["segmentation"])
                images[annotation["image_id"]].objects.append(_Object(value, annotation["area"], segmentation))
        for image in images.values():
            image.objects.sort(key=lambda item: (item.value != IGNORE_INDEX, -item.area))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is not a file of COCO instances ({type(error).__name__}: {error})") from error
    shown = [images[key] for key in sorted(images) if any(item.value != IGNORE_INDEX for item in images[key].objects)]
    # One listing of a folder is much cheaper than asking for 80,000 files.
    present = {file.name for file in (folder / split).iterdir()}
    missing = [image.path for image in shown if image.path.name not in present]
    if missing:
        raise DataError(f"{missing[0]}: no such file, but {path.name} names it; {len(missing)} are missing")
    return shown


def _paint(image: _Image) -> np.ndarray:
    """Paint the objects of an image over each other in their order, uint8 (H, W)."""
    label = np.zeros(image.size, np.uint8)
    for item in image.objects:
        try:
            label[_decode(item.segmentation, *image.size)] = item.value
        except Exception as error:  # pycocotools raises several unrelated types for broken shapes.
            raise DataError(f"{image.path}: an annotation of this image holds no valid shape ({error})") from error
    return label


def _decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Turn polygons or run lengths into a boolean (H, W) mask."""
    mask = _mask_module()
    if isinstance(segmentation, list):
        # pycocotools would take four numbers for a box.
        if not segmentation or min(map(len, segmentation)) < 6:
            raise ValueError("a polygon needs at least three points")
        return mask.decode(mask.merge(mask.frPyObjects(segmentation, height, width))) > 0
    if segmentation["size"] != [height, width]:
        raise ValueError(f"run lengths of size {segmentation['size']} in an image of {[height, width]}")
    if isinstance(segmentation["counts"], list):
        if sum(segmentation["counts"]) != height * width:
            raise ValueError(f"run lengths cover {sum(segmentation['counts'])} of {height * width} pixels")
        segmentation = mask.frPyObjects(segmentation, height, width)
    return mask.decode(segmentation) > 0


class COCO(Dataset[Sample]):
    """Photographs with one of VOC's 21 class indices for each pixel, 255 on crowds.

    Reads `root/coco/annotations/instances_SPLIT.json` and `root/coco/SPLIT/*.jpg`, with the extra `segaware[coco]`.
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
        image, label = read_image(self.images[index].path), _paint(self.images[index])
        check_pair(image, label, self.images[index].path)
        sample = to_sample(image, label, self.images[index].path.stem)
        return self.transform(sample) if self.transform else sample
