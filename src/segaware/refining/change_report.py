"""A page of what a refinement has changed most, to accept or reject."""

from __future__ import annotations

import functools
import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from segaware.atomic import write_atomically
from segaware.data import DataError, has_suffix, read_image, reading
from segaware.data.coco_annotations import Annotations, read_segments
from segaware.data.coco_masks import decode_mask, mask_box
from segaware.outputs import check_outputs, make_folder
from segaware.viz import Report, draw_outlines

Pictures: TypeAlias = tuple[np.ndarray, np.ndarray]
INDEX = "index.html"
_SHOWN = 100
_MARGIN = 0.2  # around an object, as a part of its size
_TEXT = (
    "Left of the dashed line and orange: borders as they were. Right and blue: as they are now. Sliders move the line. "
    "Remove the check mark of what is worse than before, save rejected.json, and give the same command with --reject "
    "rejected.json: it puts back what is listed there, and refines nothing anew."
)


@dataclass(frozen=True)
class Change:
    """What has become of one annotation, or of one label map.

    Attributes:
        overlap: How much of it is the same, from 0 to 1.
        value: What `rejected.json` calls it.
        caption: What it is, and how it has changed.
        draw: Makes pictures of it before and after.
    """

    overlap: float
    value: Any
    caption: str
    draw: Callable[[], Pictures]


def write_report(folder: Path, changes: Iterable[Change]) -> None:
    """Write `index.html` into a folder, with the hundred that have changed most, these first."""
    changed = [change for change in changes if change.overlap < 1]
    shown = heapq.nsmallest(_SHOWN, changed, key=lambda change: change.overlap)
    report = Report("What changed most", f"{len(shown)} of {len(changed)} that have changed. {_TEXT}")
    report.choices([(change.caption, change.value, *change.draw()) for change in shown], "rejected.json")
    make_folder(folder)
    report.write(folder / INDEX)


def read_rejected(path: Path) -> list[Any]:
    """Read what such a page saves: a list of numbers or names."""
    with reading(path, "a list of what is rejected"):
        rejected = json.loads(path.read_bytes())
    if not isinstance(rejected, list) or not all(isinstance(value, int | str) for value in rejected):
        raise DataError(f"{path}: must be a list of ids or names, as the page of --report saves it")
    return rejected


def check_labels_report(files: Iterable[tuple[Path, Path, Path]], folder: Path, overwrite: bool) -> None:
    """Check that a report of label maps can be written, given each image, its labels and its output.

    Raises:
        DataError: If they are no PNG files.
        FileExistsError: If there is a page, and it must not be replaced.
    """
    other = [path for _, labels, out in files for path in (labels, out) if not has_suffix(path, (".png",))]
    if other:
        raise DataError(f"--report shows labels in PNG files, or annotations, got {other[0]}")
    check_outputs([folder / INDEX], overwrite=overwrite)


def put_back_labels(files: Iterable[tuple[Path, Path, Path]], rejected: list[Any]) -> None:
    """Replace outputs by what they were made of, given each image, its labels and its output.

    Raises:
        DataError: If a rejected name is that of no output, or an output has another suffix than its labels.
    """
    labels = {out.name: (path, out) for _, path, out in files}
    for name in rejected:
        if name not in labels or labels[name][0].suffix.lower() != labels[name][1].suffix.lower():
            raise DataError(f"{name!r}: is to be put back, but no file of labels has this name")
    for path, out in (labels[name] for name in rejected):
        write_atomically(out, path.read_bytes())


def annotation_changes(
    photographs: Path, source: Annotations, after: list[Any], records: list[dict[str, Any]], out: Path
) -> Iterator[Change]:
    """Yield what has become of annotations; of panoptic ones, of all segments of an image at once.

    Args:
        photographs: The folder of photographs.
        source: The annotations before.
        after: All annotations, refined.
        records: What is known of each photograph; see `refine_annotations`.
        out: The refined file; panoptic PNGs are in its folder.
    """
    names = {category["id"]: category["name"] for category in source.content.get("categories", [])}
    for record in records:
        key, image, _ = source.images[record["image"]]
        assert image is not None
        for place, (overlap, area, new_area) in record["changes"].items():
            pair = source.content["annotations"][int(place)], after[int(place)]
            photograph = photographs / image["file_name"]
            if source.panoptic:
                caption = f"{image['file_name']}: {1 - overlap:.1%} of its pixels have another segment"
                folders = source.segments, out.with_suffix("")
                yield Change(overlap, key, caption, functools.partial(_draw_segments, photograph, pair, folders))
                continue
            what = f"annotation {pair[0]['id']}, {names.get(pair[0].get('category_id'), 'no category')}"
            caption = f"{image['file_name']}, {what}: IoU {overlap:.3f}, area {area} before, {new_area} now"
            yield Change(overlap, pair[0]["id"], caption, functools.partial(_draw_masks, photograph, pair))


def label_changes(files: Iterable[tuple[Path, Path, Path]]) -> Iterator[Change]:
    """Yield what has become of label maps, PNG files, given each image, its labels and its output, if that is there."""
    for image, labels, out in files:
        if out.is_file():
            before, after = _read_labels(labels, out)
            overlap = float((before == after).mean())
            caption = f"{out.name}: {1 - overlap:.1%} of its pixels have another label"
            yield Change(overlap, out.name, caption, functools.partial(_draw_labels, image, labels, out))


def _read_labels(labels: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read label maps of a file and its output, both of the size of the output."""
    with reading(labels, "labels"), Image.open(labels) as before, Image.open(out) as after:
        return np.array(before.resize(after.size, Image.Resampling.NEAREST)), np.array(after)


def _draw_labels(image: Path, labels: Path, out: Path) -> Pictures:
    return _draw_pair(read_image(image), *_read_labels(labels, out))


def _draw_segments(photograph: Path, pair: tuple[Any, Any], folders: tuple[Path, Path]) -> Pictures:
    pixels = read_image(photograph)
    before, after = (read_segments(folder / a["file_name"], a, pixels) for folder, a in zip(folders, pair, strict=True))
    return _draw_pair(pixels, before, after)


def _draw_masks(photograph: Path, pair: tuple[Any, Any]) -> Pictures:
    """Draw an object, with a margin."""
    pixels = read_image(photograph)
    before, after = (decode_mask(annotation["segmentation"], *pixels.shape[:2]) for annotation in pair)
    left, top, width, height = mask_box(before | after)
    margin = round(_MARGIN * max(width, height)) + 4
    crop = np.s_[max(top - margin, 0) : top + height + margin, max(left - margin, 0) : left + width + margin]
    return _draw_pair(pixels[crop], before[crop], after[crop])


def _draw_pair(pixels: np.ndarray, before: np.ndarray, after: np.ndarray) -> Pictures:
    nothing = np.zeros_like(before)
    return draw_outlines(pixels, before, nothing), draw_outlines(pixels, nothing, after)
