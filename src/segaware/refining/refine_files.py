"""Refining files: tile by tile, going on where it was interrupted."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np
import torch
from numpy.lib.format import open_memmap

from segaware.cluster.job import Failure, reason_of
from segaware.data import IMAGE_SUFFIXES, DataError, files_by_stem, has_suffix, read_image
from segaware.locking import LockedError, locked
from segaware.nn import Embedding, load_embedding
from segaware.refining import Arrays
from segaware.refining.partial_output import PartialOutput, partial_folder, room_for
from segaware.refining.score_files import (
    READ_SUFFIXES,
    WRITTEN_SUFFIXES,
    FileSettings,
    Scores,
    check_output,
    check_photograph,
    open_scores,
    output_dtype,
    write_output,
)
from segaware.refining.settings import EmbeddingName, named_embedding
from segaware.version import __version__

Files: TypeAlias = tuple[Path, Path, Path]  # an image, its scores, its output
Finish: TypeAlias = Callable[[Files, Failure | None], None]


class OutputThereError(DataError):
    """An output is there already and must not be replaced."""


@functools.cache
def open_embedding(name: str, device: str = "cpu") -> Embedding:
    """Return the network that `FileSettings.embedding` names, on a device, loaded once."""
    names: tuple[EmbeddingName, ...] = get_args(EmbeddingName)
    where = torch.device(device)
    return named_embedding(name, where) if name in names else load_embedding(name).to(where)


def find_files(images: Path, scores: Path, out: Path, suffix: str | None) -> list[Files]:
    """Return every image of a folder, its scores and its output, which have the same name but for the suffix.

    An image that has no scores comes with the name of what is missing.

    Args:
        images: Folder of images.
        scores: Folder of files with one of `READ_SUFFIXES`.
        out: Folder of outputs.
        suffix: Of outputs; None for that of the scores if it can be written, or else .npy.

    Raises:
        DataError: If a folder is missing or has no images, several files have the same name, or `out` is one of the
            other folders or no folder.
    """
    check_suffix(suffix)
    for folder in (images, scores):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    found = files_by_stem(images, IMAGE_SUFFIXES), files_by_stem(scores, READ_SUFFIXES)
    if not found[0]:
        raise DataError(f"{images}: no image (none of {', '.join(IMAGE_SUFFIXES)})")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: must be a folder, as {images} is")
    _check_apart(out, images, scores)
    files = []
    for stem, image in found[0].items():
        part = found[1].get(stem, scores / f"{stem}.npy")
        ending = suffix or (part.suffix if has_suffix(part, WRITTEN_SUFFIXES) else ".npy")
        files.append((image, part, out / f"{stem}{ending}"))
    return files


def check_suffix(suffix: str | None) -> None:
    """Raise DataError unless outputs can have this suffix, or None, what their scores have."""
    if suffix is not None and suffix.lower() not in WRITTEN_SUFFIXES:
        raise DataError(f"--suffix must be one of {', '.join(WRITTEN_SUFFIXES)}, got {suffix!r}")


@contextmanager
def refine_file(image: Path, scores: Path, out: Path, how: FileSettings) -> Iterator[tuple[int, int, Iterator[None]]]:
    """Check files, and give the number of pieces of work, of those that are done, and what does the others.

    Everything is written into a folder beside `out` first. It stays there if the work is interrupted, and the same call
    goes on from it. Within the `with` block the output is locked, so that no other process works at it.

    Raises:
        OutputThereError: If `out` is there and must not be replaced.
        LockedError: If another process is writing `out`.
        DataError: If a file is missing, broken or of another kind, or if `out` is one of the files that are read.
        ValueError: If files do not fit together or to the settings.
        MemoryError: If `max_memory` is too little.
        OSError: If the disk has no room.
    """
    _check_apart(out, image, scores, Path(how.embedding))
    if out.is_dir():
        raise DataError(f"{out}: must be a file, but a folder is there")
    _check_there(out, how)
    for path in (image, scores):
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    with room_for(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock_path(out), str(out)):
            _check_there(out, how)  # another process may just have finished it
            yield _prepare(image, scores, out, how)


def try_refine_file(file: Files, how: FileSettings) -> Failure | None:
    """Refine a file, and return why that failed; one that is there already has not."""
    try:
        with refine_file(*file, how) as (_, _, work):
            for _ in work:
                pass
    except OutputThereError:
        return None
    except Exception as error:  # of whatever kind: the next image may be all right
        return Failure(reason_of(error), isinstance(error, LockedError))
    return None


@dataclasses.dataclass(frozen=True)
class RefineJob:
    """Refines an image, for actors.

    Attributes:
        how: How; `max_memory` is of one actor.
    """

    how: FileSettings

    def open(self) -> None:
        """Load the embedding network."""
        open_embedding(self.how.embedding, self.how.device)

    def __call__(self, files: Files) -> Failure | None:
        """Refine an image, and return why that failed."""
        return try_refine_file(files, self.how)


def lock_path(out: Path) -> Path:
    """Return what is locked while an output is worked at."""
    return out.with_name(f".{out.name}.refine-lock")


def _check_there(out: Path, how: FileSettings) -> None:
    if out.exists() and not how.overwrite:
        raise OutputThereError(f"{out} is there already; pass --overwrite to replace it")


def _check_apart(out: Path, *inputs: Path) -> None:
    """Check that an output is no input: neither by links, nor by a name that some systems do not tell from it."""
    for path in inputs:
        same = out.exists() and path.exists() and os.path.samefile(out, path)
        a, b = out.resolve(), path.resolve()
        folders = (a.parent, b.parent)
        if not same and a.name.casefold() == b.name.casefold() and all(folder.is_dir() for folder in folders):
            same = os.path.samefile(*folders)
        if same or partial_folder(a) == b.parent:
            raise DataError(f"{out}: --out must be another file or folder than what is read, {path}")


def _prepare(image: Path, scores: Path, out: Path, how: FileSettings) -> tuple[int, int, Iterator[None]]:
    file = open_scores(scores, how)
    check_photograph(image, how)
    pixels = read_image(image, max_pixels=how.max_pixels)
    opened, first = file.open, file.open()
    if first.ndim == 2 and file.kind in ("values", "masks"):
        opened = lambda: file.open()[None]  # noqa: E731
    elif first.ndim != (2 if file.kind == "labels" else 3):
        wanted = "(h, w)" if file.kind == "labels" else "(C, h, w)"
        raise DataError(f"{scores}: {file.kind} must be of shape {wanted}, got {first.shape}")
    check_output(out, file, 1 if first.ndim == 2 else len(first))
    classify = out.suffix.lower() == ".png" and file.kind in ("scores", "probabilities")
    refinement = dataclasses.replace(how.settings, kind=file.kind).prepare(
        pixels, opened, open_embedding(how.embedding, how.device), torch.device(how.device), classify
    )
    written = output_dtype(out, file)
    dtype = first.dtype.newbyteorder("=") if file.kind == "values" else written  # values are rounded in the end
    shape = refinement.output_shape[-2:] if first.ndim == 2 else refinement.output_shape
    del first  # closes the file
    partial = PartialOutput(out, refinement, dtype, shape)
    done = partial.start(_fingerprint(image, scores, file, classify, how), how.max_memory)
    arrays = Arrays(pixels, opened, partial.embedding, partial.output)
    as_it_is = out.suffix.lower() == ".npy" and how.unknown is None and dtype == written
    write = None if as_it_is else functools.partial(write_output, scores=file, unknown=how.unknown)
    return refinement.pieces, done, _run(partial, done, arrays, out, write)


def _run(
    partial: PartialOutput, done: int, arrays: Arrays, out: Path, write: Callable[[Path, np.ndarray], None] | None
) -> Iterator[None]:
    """Do the pieces that are not done, and once all are move the output into place, written by `write` if need be."""
    pieces = partial.refinement.pieces
    for piece in range(done, pieces):
        partial.refinement.run(piece, arrays)
        partial.finish(piece + 1)
        if piece + 1 < pieces:
            yield
    if write is not None:
        write(partial.result, open_memmap(partial.output_file, "r"))
    os.replace(partial.output_file if write is None else partial.result, out)
    partial.remove()
    yield


def _fingerprint(image: Path, scores: Path, file: Scores, classify: bool, how: FileSettings) -> str:
    """Return what must be the same for a run to go on with what another one has finished."""
    paths = [path.resolve() for path in (image, scores, Path(how.embedding)) if path.is_file()]
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    settings = dataclasses.replace(how, kind=file.kind, overwrite=False)
    return repr((__version__, files, settings, classify))
