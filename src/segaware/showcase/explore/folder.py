"""Pages of a folder of photographs, and their index."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import numpy as np
import torch

from segaware.cluster.job import reason_of
from segaware.data import IMAGE_SUFFIXES, DataError, files_by_stem
from segaware.metrics import boundary_counts, mean_boundary_iou
from segaware.nn import Embedding
from segaware.refining import refine
from segaware.refining.score_files import READ_SUFFIXES
from segaware.refining.strength import Strength
from segaware.showcase.explore.inputs import STRIDE, Sketch, is_unsure, open_photograph, open_truth
from segaware.showcase.explore.page import write_page
from segaware.viz import Report, draw_outlines

INDEX = "index.html"
ReadSketches: TypeAlias = Callable[[Sequence[Path], np.ndarray], list[Sketch]]
"""Reads scores, given their files and the photograph."""
_PAGES = "pages"  # the folder of all others, among which may be one of this name
_SIDE = 320  # of thumbnails
_WORST = {
    "truth": "Those with the lowest boundary IoU come first.",
    "scores": "Those that the filter changes most come first.",
    "nothing": "They are in the order of their names.",
}
_OUTLINES = "Orange: a border as it was, where it has moved. Blue: a border as it is now."


@dataclass(frozen=True)
class Source:
    """A photograph of a folder, the files that belong to it, and the page to write."""

    photograph: Path
    scores: list[Path]
    truth: Path | None
    page: Path


@dataclass(frozen=True)
class Entry:
    """What the index says of a page.

    Attributes:
        page: The page.
        caption: The photograph's name, and what became of its labels.
        badness: Of two pages, the one with more of it comes first.
        thumbnail: uint8 (h, w, 3).
    """

    page: Path
    caption: str
    badness: float
    thumbnail: np.ndarray


def find_sources(photographs: Path, scores: Sequence[Path], truth: Path | None, out: Path) -> list[Source]:
    """Return every photograph of a folder, with the files of the same name in the other folders.

    A photograph without one comes with the name of what is missing.

    Raises:
        DataError: If a folder is missing or has no photographs, or several files have the same name.
    """
    for name, folder in (*(("--scores", folder) for folder in scores), ("--truth", truth)):
        if folder is not None and not folder.is_dir():
            raise DataError(f"{name} must be a folder, as {photographs} is, got {folder}")
    found = files_by_stem(photographs, IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{photographs}: no image (none of {', '.join(IMAGE_SUFFIXES)})")
    given = [(folder, files_by_stem(folder, READ_SUFFIXES)) for folder in scores]
    known = files_by_stem(truth, (".png",)) if truth else {}
    return [
        Source(
            photograph,
            [files.get(stem, folder / f"{stem}.npy") for folder, files in given],
            truth and known.get(stem, truth / f"{stem}.png"),
            out / _PAGES / f"{stem}.html",
        )
        for stem, photograph in found.items()
    ]


def write_pages(
    sources: Sequence[Source], networks: Mapping[str, Embedding], read: ReadSketches
) -> Iterator[Entry | str]:
    """Write one page after the other, and yield what the index says of it, or why there is none.

    Args:
        sources: As `find_sources` returns them.
        networks: The embeddings that pages offer; the first one's sharpening is told.
        read: Reads scores.
    """
    for source in sources:
        try:
            yield _write(source, networks, read)
        except Exception as error:  # of whatever kind: the next photograph may be all right
            yield reason_of(error)


def write_index(path: Path, title: str, entries: Sequence[Entry], failed: Mapping[str, str], sorted_by: str) -> None:
    """Write the index, the worst first.

    Args:
        path: File to write, in an existing folder.
        title: Its heading.
        entries: Of all pages.
        failed: Names of photographs without a page, and why.
        sorted_by: "truth", "scores" or "nothing": what there is beside photographs.
    """
    outlines = "" if sorted_by == "nothing" else f" {_OUTLINES}"
    report = Report(title, f"{len(entries)} photographs. {_WORST[sorted_by]}{outlines}")
    if failed:
        report.table(["photograph", "why it has no page"], list(failed.items()), "What could not be shown.")
    worst = sorted(entries, key=lambda entry: -entry.badness)
    report.links([(each.caption, quote(os.fsencode(f"{_PAGES}/{each.page.name}")), each.thumbnail) for each in worst])
    report.write(path)


def _write(source: Source, networks: Mapping[str, Embedding], read: ReadSketches) -> Entry:
    shown = open_photograph(source.photograph)
    sketches = read(source.scores, shown.pixels)
    truth = open_truth(source.truth, shown.pixels) if source.truth else None
    write_page(source.page, shown, networks, sketches, truth)
    if not sketches:
        blank = np.zeros(shown.pixels.shape[:2], np.uint8)
        return Entry(source.page, shown.name, 0, draw_outlines(shown.pixels, blank, blank, _SIDE))
    network = next(iter(networks.values()))
    labels = []
    for sketch in sketches:
        strengths: tuple[Strength, Strength] = (0, "auto" if is_unsure(sketch, shown.pixels) else 1)
        labels.append([_sharpened(sketch, shown.pixels, network, strength) for strength in strengths])
    thumbnail = draw_outlines(shown.pixels, labels[0][0], labels[0][1], _SIDE)
    if truth is None:
        changes = [float((before != after).mean()) for before, after in labels]
        told = " and ".join(f"{change:.1%}" for change in changes)
        return Entry(source.page, f"{shown.name}: {told} of its pixels change", max(changes), thumbnail)
    quality = [[_boundary_iou(each, truth) for each in pair] for pair in labels]
    told = "; ".join(f"{before:.3f} before, {after:.3f} now" for before, after in quality)
    badness = max(-math.inf if math.isnan(after) else -after for _, after in quality)
    return Entry(source.page, f"{shown.name}: boundary IoU {told}", badness, thumbnail)


def _sharpened(sketch: Sketch, pixels: np.ndarray, network: Embedding, strength: Strength) -> np.ndarray:
    """Return the class of every pixel, 255 where unknown, as the page shows it; before the filter at strength 0."""
    is_labels = sketch.kind == "labels"
    given = sketch.given if is_labels else sketch.given.astype(np.float32) / sketch.given.sum(0, dtype=np.float32)
    found = refine(
        pixels, given, "filter", "labels" if is_labels else "probabilities", network if strength else "color",
        strength=strength, stride=STRIDE, classify=not is_labels,
    )  # fmt: skip
    return np.append(sketch.classes, [255] * (256 - len(sketch.classes)))[found]


def _boundary_iou(labels: np.ndarray, truth: Sketch) -> float:
    """Return the mean over the classes of either, NaN without a pixel."""
    known = np.append(truth.classes, [255] * (256 - len(truth.classes)))[truth.given]
    # What is unknown in the labels is a class of its own there, and wrong.
    counts = boundary_counts(torch.from_numpy(labels), torch.from_numpy(known), num_classes=256)
    return float(mean_boundary_iou(counts[:, :255]))
