"""Refining COCO annotations: photograph by photograph, going on where it was interrupted."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segaware.atomic import write_atomically
from segaware.cluster.failed_list import check_failed_list, write_failed_list
from segaware.cluster.file_job import running
from segaware.cluster.job import Failure, reason_of
from segaware.cluster.ray_actors import Cluster
from segaware.constants import IGNORE_INDEX
from segaware.data import DataError, read_image
from segaware.data.coco_annotations import Annotations, read_annotations, read_segments, write_segments
from segaware.data.coco_masks import as_polygon, decode_mask, encode_mask, mask_box
from segaware.locking import locked
from segaware.outputs import check_apart, check_outputs
from segaware.refining.change_report import INDEX, annotation_changes, write_report
from segaware.refining.journal import Journal
from segaware.refining.partial_output import room_for
from segaware.refining.refine import refine
from segaware.refining.refine_files import lock_path, open_embedding
from segaware.refining.refine_folder import share_of
from segaware.refining.score_files import FileSettings, check_photograph
from segaware.version import __version__

_log = logging.getLogger("segaware")
_COLUMNS = ("image", "error")


@dataclass
class Outcome:
    """What has become of the annotations of a photograph.

    Attributes:
        image: Its name.
        error: Why they were left as they are; None if they were refined.
        vanished: What to say of annotations of which no pixel was left: instances keep their masks, segments are gone.
    """

    image: str
    error: str | None = None
    vanished: list[str] = field(default_factory=list)


@contextmanager
def refine_annotations(
    photographs: Path,
    annotations: Path,
    out: Path,
    how: FileSettings,
    report: Path | None = None,
    cluster: Cluster | None = None,
) -> Iterator[tuple[int, int, Iterator[Outcome]]]:
    """Check files, and give the number of photographs, of those that are done, and what does the others.

    What does the others tells of those that are done, too. Masks become compressed run lengths, with their areas and
    boxes. Crowds stay as they are, and so do the annotations of a photograph of which something is wrong, which
    `failed.csv` beside `out` lists. What is done is kept in a folder beside `out`, and the same call goes on from it.
    Within the `with` block the output is locked.

    Args:
        photographs: The folder of photographs.
        annotations: COCO's JSON of instances; or a panoptic one, whose PNGs are in the folder of its name without
            .json, and are written into that of `out`.
        out: The JSON to write.
        how: How they are refined. The strength "auto" is 1 here, for what is drawn by hand; but for run lengths,
            which stay as they are.
        report: A folder for a page that shows what has changed most; None for none.
        cluster: The Ray cluster that does it, whose machines have all files, and the current folder, under the same
            names; None for this process.

    Raises:
        LockedError: If another process is writing `out`.
        DataError: If a file is missing or broken, or `how` has something that is not for annotations.
        FileExistsError: If an output is there and must not be replaced.
        ValueError: If an output is what is read.
        OSError: If the disk has no room.
    """
    if out.suffix.lower() != ".json":
        raise DataError(f"{out}: --out must be a .json file, as {annotations} is")
    if not photographs.is_dir():
        raise DataError(f"{photographs}: no such folder; annotations are refined with a folder of photographs")
    source = _opened(annotations, *_stamp(annotations)) if annotations.is_file() else read_annotations(annotations)
    _check_options(source, how)
    if not any(image and (photographs / image["file_name"]).is_file() for _, image, _ in source.images):
        raise DataError(f"{photographs}: holds none of the {len(source.images)} photographs of {annotations}")
    with room_for(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock_path(out), str(out)):
            journal = Journal(out, _fingerprint(photographs, annotations, how))
            _check_outputs(photographs, source, out, how, report, journal.begun)
            journal.start()
            _tell_what_stays(source, how)
            work = _run(photographs, source, out, how, report, journal, cluster)
            yield len(source.images), len({record["image"] for record in journal.records}), work


def _check_options(source: Annotations, how: FileSettings) -> None:
    settings = dataclasses.replace(how.settings, kind="labels" if source.panoptic else "masks")  # which are checked now
    for name, value in (
        ("--kind", how.kind),
        ("--key", how.key),
        ("--unknown", how.unknown),
        ("--num-classes", settings.num_classes),
        ("--align", settings.align),
        ("--region", settings.region),
        ("--ignore-index", None if settings.ignore_index == IGNORE_INDEX else settings.ignore_index),
    ):
        if value is not None:
            raise DataError(f"{name} is for arrays and label maps: annotations say themselves what they are")


def _check_outputs(
    photographs: Path, source: Annotations, out: Path, how: FileSettings, report: Path | None, begun: bool
) -> None:
    """Check that outputs can be written; what is there beside `out` may be of a run that has begun."""
    there = [out] if begun or report is None else [out, report / INDEX]
    check_outputs(there, [source.path], how.overwrite)
    check_failed_list(out.with_name("failed.csv"), _COLUMNS)
    folders = [] if report is None else [report]
    if source.panoptic:
        if out.with_suffix("").exists() and not begun and not how.overwrite:
            raise FileExistsError(f"{out.with_suffix('')} is there already; pass --overwrite to replace what is there")
        folders.append(out.with_suffix(""))
    check_apart(folders, [photographs / "any", source.segments / "any"])


def _tell_what_stays(source: Annotations, how: FileSettings) -> None:
    stays = [isinstance(a.get("segmentation"), dict) and not a.get("iscrowd") for a in source.content["annotations"]]
    if any(stays) and not source.panoptic and how.settings.strength == "auto":
        _log.warning("%d masks of run lengths stay as they are: strength 1 is for rough ones", sum(stays))


def _fingerprint(photographs: Path, annotations: Path, how: FileSettings) -> str:
    files = [(str(path.resolve()), *_stamp(path)) for path in (annotations, Path(how.embedding)) if path.is_file()]
    return repr((__version__, str(photographs.resolve()), files, dataclasses.replace(how, overwrite=False)))


def _stamp(path: Path) -> list[int]:
    """Return what changes with the content of a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _run(
    photographs: Path,
    source: Annotations,
    out: Path,
    how: FileSettings,
    report: Path | None,
    journal: Journal,
    cluster: Cluster | None,
) -> Iterator[Outcome]:
    """Refine what is not done, and write the output in the end."""
    share = share_of(how, 1 if cluster is None else cluster.workers)
    job = _AnnotationsJob(photographs, source.path, journal.folder, share)
    records = {record["image"]: record for record in journal.records if _is_newest(photographs, source, record)}
    errors: dict[int, str] = {}
    names = [f"image {n}" if image is None else image["file_name"] for n, (_, image, _) in enumerate(source.images)]
    for number, record in sorted(records.items()):
        yield Outcome(names[number], None, record["vanished"])
    with running([number for number in range(len(names)) if number not in records], job, cluster) as results:
        for number, result in results:
            if isinstance(result, Failure):
                errors[number] = result.reason
                yield Outcome(names[number], result.reason)
                continue
            journal.add(result)
            records[number] = result
            yield Outcome(names[number], None, result["vanished"])
    _finish(photographs, source, out, report, journal, [record for _, record in sorted(records.items())])
    rows = [(names[number], error) for number, error in sorted(errors.items())]
    write_failed_list(out.with_name("failed.csv"), _COLUMNS, rows)
    journal.remove()


def _is_newest(photographs: Path, source: Annotations, record: dict[str, Any]) -> bool:
    """Tell whether the files of a record are still those that it was made of."""
    try:
        return bool(record["stamps"] == [_stamp(path) for path in _find_files(photographs, source, record["image"])])
    except (DataError, OSError):
        return False


@dataclass(frozen=True)
class _AnnotationsJob:
    """Refines the annotations of an image, given its number, and returns the record, as `_refine_one` does."""

    photographs: Path
    annotations: Path
    folder: Path
    how: FileSettings

    def open(self) -> None:
        open_embedding(self.how.embedding)
        _opened(self.annotations, *_stamp(self.annotations))

    def __call__(self, number: int) -> dict[str, Any] | Failure:
        source = _opened(self.annotations, *_stamp(self.annotations))
        _, image, places = source.images[number]
        try:
            files = _find_files(self.photographs, source, number)
            record = {"image": number, "stamps": [_stamp(path) for path in files]}
            return record | _refine_one(files, source, image or {}, places, self.how, self.folder / f"{number}.png")
        except Exception as error:  # of whatever kind: the next photograph may be all right
            return Failure(reason_of(error))


@functools.lru_cache(1)
def _opened(annotations: Path, *stamp: int) -> Annotations:
    """Read annotations, once in a process while they stay what they are."""
    return read_annotations(annotations)


def _find_files(photographs: Path, source: Annotations, number: int) -> list[Path]:
    """Return the photograph of an image, and the PNG of its segments."""
    key, image, places = source.images[number]
    if image is None:
        raise DataError(f"{len(places)} annotations name image {key!r}, which 'images' does not have")
    files = [photographs / image["file_name"]]
    if source.panoptic:
        if len(places) > 1:
            raise DataError(f"image {key!r} has {len(places)} panoptic annotations")
        files.append(source.segments / source.content["annotations"][places[0]]["file_name"])
    for path in files:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    return files


def _refine_one(
    files: list[Path], source: Annotations, image: dict[str, Any], places: list[int], how: FileSettings, png: Path
) -> dict[str, Any]:
    """Refine the annotations of a photograph.

    Returns:
        "updates", what changes in annotations by their places, as text, for JSON has no other keys; "changes" likewise,
        how much of each is the same, and its area before and after; and "vanished", as of `Outcome`.
    """
    check_photograph(files[0], how)
    pixels = read_image(files[0], how.max_pixels)
    if pixels.shape[:2] != (image["height"], image["width"]):
        raise DataError(
            f"{files[0]}: the photograph has {pixels.shape[1]}x{pixels.shape[0]} pixels, but {source.path} says "
            f"{image['width']}x{image['height']}"
        )
    annotations = {place: source.content["annotations"][place] for place in places}
    if not source.panoptic:
        return _refine_instances(pixels, annotations, how)
    ((place, annotation),) = annotations.items()
    before = read_segments(files[1], annotation, pixels)
    after = _refine(pixels, before, "labels", _strength(how, 1), how, ignore_index=0)
    crowds = [segment["id"] for segment in annotation["segments_info"] if segment.get("iscrowd")]
    after = np.where(np.isin(before, crowds) | np.isin(after, crowds), before, after)
    masks = [after == segment["id"] for segment in annotation["segments_info"]]
    segments = [
        {**segment, "area": int(mask.sum()), "bbox": mask_box(mask)}
        for segment, mask in zip(annotation["segments_info"], masks, strict=True)
    ]
    write_segments(png, after)
    return {
        "updates": {str(place): {"segments_info": [segment for segment in segments if segment["area"]]}},
        "changes": {str(place): [float((before == after).mean()), int((before != 0).sum()), int((after != 0).sum())]},
        "vanished": [f"segment {segment['id']} has vanished" for segment in segments if not segment["area"]],
    }


def _refine_instances(pixels: np.ndarray, annotations: dict[int, dict[str, Any]], how: FileSettings) -> dict[str, Any]:
    groups: dict[Any, dict[int, np.ndarray]] = {}
    for place, annotation in annotations.items():
        segmentation = annotation.get("segmentation")
        if annotation.get("iscrowd") or not segmentation:
            continue
        try:
            mask = decode_mask(segmentation, *pixels.shape[:2])
            _check_inside(segmentation, *pixels.shape[:2])
        except ValueError as error:
            raise DataError(f"annotation {annotation['id']}: {error}") from error
        if mask.any():  # polygons may be smaller than a pixel
            strength = _strength(how, 1 if isinstance(segmentation, list) else "auto")
            groups.setdefault(strength, {})[place] = mask
    updates, changes, vanished = {}, {}, []
    for strength, masks in groups.items():
        refined = np.stack(list(masks.values()))
        if strength != "auto":  # which leaves hard masks of the image's size as they are
            refined = _refine(pixels, refined, "masks", strength, how)
        for (place, before), after in zip(masks.items(), refined, strict=True):
            if not after.any():
                vanished.append(f"annotation {annotations[place]['id']} would vanish, and keeps its mask")
                continue
            area = int(after.sum())
            updates[str(place)] = {"segmentation": encode_mask(after), "area": area, "bbox": mask_box(after)}
            overlap = float((before & after).sum() / (before | after).sum())
            changes[str(place)] = [overlap, int(before.sum()), area]
    return {"updates": updates, "changes": changes, "vanished": vanished}


def _check_inside(segmentation: Any, height: int, width: int) -> None:
    """Raise ValueError if a polygon lies beside its image: it may be another image's."""
    for polygon in segmentation if isinstance(segmentation, list) else ():
        points = as_polygon(polygon, height, width)
        if (points.max(0) <= 0).any() or (points.min(0) >= (width, height)).any():
            raise ValueError(f"a polygon lies outside of its image of {[height, width]}")


def _strength(how: FileSettings, usual: Any) -> Any:
    return usual if how.settings.strength == "auto" else how.settings.strength


def _refine(image: np.ndarray, given: np.ndarray, kind: Any, strength: Any, how: FileSettings, **more: Any) -> Any:
    options = {**vars(how.settings), "kind": kind, "strength": strength, **more}
    return refine(image, given, embedding=open_embedding(how.embedding), max_memory=how.max_memory, **options)


def _finish(
    photographs: Path,
    source: Annotations,
    out: Path,
    report: Path | None,
    journal: Journal,
    records: list[dict[str, Any]],
) -> None:
    """Write the output. A run that was killed while it did so does it again."""
    before = source.content["annotations"]
    after = list(before)
    for record in records:
        for place, update in record["updates"].items():
            after[int(place)] = {**before[int(place)], **update}
    if source.panoptic:
        out.with_suffix("").mkdir(exist_ok=True)
        refined = {record["image"] for record in records}
        for number, (_, _, places) in enumerate(source.images):
            for annotation in (before[place] for place in places):
                png = out.with_suffix("") / annotation["file_name"]
                if number not in refined:
                    copy_segments(source, out, annotation)
                elif (made := journal.folder / f"{number}.png").exists():
                    png.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(made, png)
    if report is not None:
        write_report(report, annotation_changes(photographs, source, after, records, out))
    write_atomically(out, json.dumps({**source.content, "annotations": after}).encode())


def copy_segments(source: Annotations, out: Path, annotation: dict[str, Any]) -> None:
    """Copy the PNG of a panoptic annotation, if it is there, to where that of the refined one is."""
    png, copy = source.segments / annotation["file_name"], out.with_suffix("") / annotation["file_name"]
    if png.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(copy, png.read_bytes())


def put_back(annotations: Path, out: Path, rejected: list[Any]) -> None:
    """Give annotations of a refined file back what they were before.

    Args:
        annotations: What was refined.
        out: The refined file, which is replaced.
        rejected: Ids of annotations; of panoptic ones, of their images.

    Raises:
        DataError: If a file is missing or broken, or has no annotation of such an id.
    """
    source, refined = read_annotations(annotations), read_annotations(out)
    check_outputs([out], [annotations], overwrite=True)
    name = "image_id" if source.panoptic else "id"
    before = {annotation[name]: annotation for annotation in source.content["annotations"]}
    unknown = [key for key in rejected if key not in before]
    if unknown:
        raise DataError(f"{annotations}: has no annotation with {name} {unknown[0]!r}, which is to be put back")
    after = [before[a[name]] if a[name] in rejected else a for a in refined.content["annotations"]]
    with locked(lock_path(out), str(out)):
        if source.panoptic:
            for key in rejected:
                copy_segments(source, out, before[key])
        write_atomically(out, json.dumps({**refined.content, "annotations": after}).encode())
