"""Refining files: tile by tile, going on where it was interrupted."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from segaware.atomic import write_atomically
from segaware.data import IMAGE_SUFFIXES, DataError, read_image
from segaware.nn import ColorEmbedding, EmbeddingNet
from segaware.recipes.score_files import (
    READ_SUFFIXES,
    WRITTEN_SUFFIXES,
    check_output,
    guess_kind,
    open_scores,
    write_output,
)
from segaware.refining import Arrays, Kind, Refinement
from segaware.refining.settings import Settings, pretrained


@dataclass(frozen=True)
class FileSettings:
    """How files are refined.

    Attributes:
        settings: How images are; `kind` is not used.
        kind: What files hold; None for what they seem to.
        key: The array of a .npz or .safetensors file.
        embedding: "pretrained", "color", or the name of a .safetensors file of an `EmbeddingNet`.
        max_memory: The most memory in bytes.
        overwrite: Whether an output that is there is replaced.
    """

    settings: Settings
    kind: Kind | None
    key: str | None
    embedding: str
    max_memory: int
    overwrite: bool


@cache
def load_embedding(name: str) -> EmbeddingNet | ColorEmbedding:
    """Return the network that `FileSettings.embedding` names, loaded once."""
    if name in ("pretrained", "color"):
        return ColorEmbedding() if name == "color" else pretrained()
    return EmbeddingNet.from_pretrained(name)


def find_files(images: Path, scores: Path, out: Path, suffix: str | None) -> list[tuple[Path, Path, Path]]:
    """Return every image of a folder, its scores and its output, which have the same name but for the suffix.

    An image that has no scores comes with the name of what is missing.

    Args:
        images: Folder of images.
        scores: Folder of files with one of `READ_SUFFIXES`.
        out: Folder of outputs.
        suffix: Of outputs; None for that of the scores if it can be written, or else .npy.

    Raises:
        DataError: If a folder is missing or has no images, or several files have the same name.
    """
    if suffix is not None and suffix not in WRITTEN_SUFFIXES:
        raise DataError(f"--suffix must be one of {', '.join(WRITTEN_SUFFIXES)}, got {suffix!r}")
    found = _by_stem(images, IMAGE_SUFFIXES), _by_stem(scores, READ_SUFFIXES)
    if not found[0]:
        raise DataError(f"{images}: no image (none of {', '.join(IMAGE_SUFFIXES)})")
    files = []
    for stem, image in found[0].items():
        part = found[1].get(stem, scores / f"{stem}.npy")
        ending = suffix or (part.suffix if part.suffix in WRITTEN_SUFFIXES else ".npy")
        files.append((image, part, out / f"{stem}{ending}"))
    return files


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in files:
                raise DataError(f"{files[path.stem]} and {path} have the same name; move one away")
            files[path.stem] = path
    return files


def refine_file(image: Path, scores: Path, out: Path, how: FileSettings) -> tuple[int, int, Iterator[None]]:
    """Check files, and return the number of pieces of work, of those that are done, and what does the others.

    Everything is written into a folder beside `out` first. It stays there if the work is interrupted, and the same call
    goes on from it.

    Raises:
        DataError: If a file is missing, broken or of another kind, or if `out` is there and must not be replaced.
        ValueError: If files do not fit together or to the settings.
        MemoryError: If `max_memory` is too little.
    """
    if out.exists() and not how.overwrite:
        raise DataError(f"{out} is there already; pass --overwrite to replace it")
    opened = open_scores(scores, how.key)
    pixels = read_image(image)
    first = opened()
    kind = how.kind or guess_kind(scores, first)
    if first.ndim == 2 and kind == "values":
        with_channels = lambda: opened()[None]  # noqa: E731
    elif first.ndim != (2 if kind == "labels" else 3):
        wanted = "(h, w)" if kind == "labels" else "(C, h, w)"
        raise DataError(f"{scores}: {kind} must be of shape {wanted}, got {first.shape}")
    else:
        with_channels = opened
    check_output(out, kind, 1 if first.ndim == 2 else len(first))
    classify = out.suffix.lower() == ".png" and kind != "labels"
    refinement = dataclasses.replace(how.settings, kind=kind).prepare(
        pixels, with_channels, load_embedding(how.embedding), classify=classify
    )
    dtype = np.dtype(np.uint8) if classify else first.dtype.newbyteorder("=")
    shape = refinement.output_shape[-2:] if first.ndim == 2 else refinement.output_shape
    del first  # closes the file
    partial = _Partial(out, refinement, dtype, shape)
    done = partial.start(_fingerprint(image, scores, kind, classify, how), how.max_memory)
    arrays = Arrays(pixels, with_channels, partial.embedding, partial.output)
    return refinement.pieces, done, partial.run(done, arrays)


class _Partial:
    """The folder of an output that is not finished."""

    def __init__(self, out: Path, refinement: Refinement, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.out = out
        self.refinement = refinement
        self.dtype = dtype
        self.shape = shape
        self.folder = out.with_name(f".{out.name}.partial")

    def embedding(self) -> np.ndarray:
        return np.load(self.folder / "embedding.npy", mmap_mode="r+")

    def output(self) -> np.ndarray:
        return np.load(self.folder / "output.npy", mmap_mode="r+").reshape(self.refinement.output_shape)

    def start(self, fingerprint: str, max_memory: int) -> int:
        """Return the number of pieces that are done: all that an interrupted run for the same files has finished."""
        plan, finished = self.folder / "plan.json", self.folder / "finished"
        if plan.is_file() and finished.is_file():
            values = json.loads(plan.read_text())
            if values["fingerprint"] == fingerprint:
                self.refinement.resume(values["work"])
                return int(finished.read_text())
        self.refinement.plan(max_memory)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        open_memmap(self.folder / "output.npy", "w+", self.dtype, self.shape)
        if self.refinement.embedding_shape[0]:
            open_memmap(self.folder / "embedding.npy", "w+", np.float32, self.refinement.embedding_shape)
        write_atomically(plan, json.dumps({"fingerprint": fingerprint, "work": self.refinement.work}).encode())
        write_atomically(finished, b"0")
        return 0

    def run(self, done: int, arrays: Arrays) -> Iterator[None]:
        """Do the other pieces, and write the output once all are done."""
        for piece in range(done, self.refinement.pieces):
            self.refinement.run(piece, arrays)
            write_atomically(self.folder / "finished", str(piece + 1).encode())
            if piece + 1 < self.refinement.pieces:
                yield
        if self.out.suffix.lower() == ".npy":
            os.replace(self.folder / "output.npy", self.out)
        else:
            write_output(self.out, self.output())
        shutil.rmtree(self.folder)
        yield


def _fingerprint(image: Path, scores: Path, kind: Kind, classify: bool, how: FileSettings) -> str:
    """Return what must be the same for a run to go on with what another one has finished."""
    paths = [path.resolve() for path in (image, scores, Path(how.embedding)) if path.is_file()]
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    settings = dataclasses.replace(how.settings, kind=kind)
    return repr((files, settings, classify, how.key, how.embedding, how.max_memory))
