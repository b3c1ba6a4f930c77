"""Files of COCO annotations as they are: instances, and panoptic ones with their PNGs of segments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segaware.data.images import check_size, png_header, read_image, write_png
from segaware.data.reading import DataError, reading

_RGB8 = (8, 2)  # bits and type of colour in a PNG's header


@dataclass(frozen=True)
class Annotations:
    """A JSON file of COCO annotations.

    Attributes:
        path: The file.
        content: What it holds.
        panoptic: Whether an annotation is that of a whole image, in a PNG of segments.
        images: Of every image that has annotations, its id, its entry and the places of these in
            `content["annotations"]`. An image that is not listed has the entry None.
    """

    path: Path
    content: dict[str, Any]
    panoptic: bool
    images: list[tuple[Any, dict[str, Any] | None, list[int]]]

    @property
    def segments(self) -> Path:
        """The folder of panoptic PNGs."""
        return self.path.with_suffix("")


def read_annotations(path: Path) -> Annotations:
    """Read COCO annotations; shapes are not looked at yet.

    Raises:
        DataError: If the file is missing, no JSON, or no COCO annotations, or if it has none.
    """
    with reading(path, "COCO annotations", "is not a file of COCO annotations"):
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
            raise ValueError("it must be an object with 'images' and 'annotations'")
        images = {image["id"]: image for image in content["images"]}
        for image in content["images"]:
            if images[image["id"]] is not image:
                raise ValueError(f"two images have id {image['id']!r}")
            if not isinstance(image["file_name"], str) or not all(type(image[x]) is int for x in ("height", "width")):
                raise ValueError(f"image {image['id']!r} must have a file_name, and whole numbers as height and width")
        shown: dict[Any, list[int]] = {}
        for place, annotation in enumerate(content["annotations"]):
            shown.setdefault(annotation["image_id"], []).append(place)
        panoptic = ["segments_info" in annotation for annotation in content["annotations"]]
        if any(panoptic):
            if not all(panoptic):
                raise ValueError("some annotations have 'segments_info', and some have not")
            names = [Path(annotation["file_name"]) for annotation in content["annotations"]]
            if any(name.is_absolute() or ".." in name.parts for name in names):
                raise ValueError("the file_name of a panoptic annotation must be one in the folder of its PNGs")
        elif not any(annotation.get("segmentation") for annotation in content["annotations"]):
            raise ValueError("no annotation has a segmentation")
        elif len({annotation["id"] for annotation in content["annotations"]}) < len(content["annotations"]):
            raise ValueError("two annotations have one id")
    return Annotations(path, content, any(panoptic), [(key, images.get(key), shown[key]) for key in shown])


def read_segments(path: Path, annotation: dict[str, Any], image: np.ndarray) -> np.ndarray:
    """Read the segments of a panoptic annotation, int64 (H, W), 0 where there is none.

    Args:
        path: The PNG; a pixel's id is R + 256 G + 256^2 B.
        annotation: Whose `segments_info` lists the segments.
        image: Its photograph, (H, W, 3).

    Raises:
        DataError: If the file is missing, broken, of another size, or has other segments than the annotation.
    """
    with reading(path, "a PNG of segments"), path.open("rb") as file:
        header = png_header(file.read(26))
    if header is None or header[2:] != _RGB8:
        raise DataError(f"{path}: a panoptic annotation must be a PNG of 8-bit RGB")
    ids = read_image(path, image.shape[0] * image.shape[1]).astype(np.int64) @ (1, 256, 65536)
    check_size(ids.shape, image, path)
    with reading(path, "segments", "segments_info is not that of a panoptic annotation"):
        listed = {int(segment["id"]) for segment in annotation["segments_info"]}
    different = listed ^ set(np.unique(ids[ids != 0]).tolist())
    if different:
        segment = min(different)
        here, there = ("segments_info", "the PNG") if segment in listed else ("the PNG", "segments_info")
        raise DataError(f"{path}: segment {segment} is in {here}, but not in {there}")
    return ids


def write_segments(path: Path, ids: np.ndarray) -> None:
    """Write the segments of a panoptic annotation, integers (H, W) from 0 to 2^24 - 1, whole or not at all."""
    write_png(path, (ids[..., None] >> (0, 8, 16) & 255).astype(np.uint8))
