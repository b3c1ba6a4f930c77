"""The folder of an output that is not finished, from which a later run goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from segaware.atomic import DISK_FULL, write_atomically
from segaware.data import DataError
from segaware.refining import Refinement

_OWN_FILE = re.compile(r"\.?(plan\.json|finished|(output|embedding|result)\.\w+)(\..*tmp)?")


class PartialOutput:
    """The folder of an output that is not finished. Only the holder of the output's lock may use it.

    Args:
        out: The output.
        refinement: How it is made.
        dtype: Of the array that is written piece by piece.
        shape: Likewise.

    Attributes:
        result: Where the output can be written before it is moved into place.

    Raises:
        DataError: If there is such a folder with anything in it that is not refine's.
    """

    def __init__(self, out: Path, refinement: Refinement, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.refinement = refinement
        self.folder = partial_folder(out)
        self.result = self.folder / f"result{out.suffix}"
        self.output_file = self.folder / "output.npy"
        self._plan, self._finished = self.folder / "plan.json", self.folder / "finished"
        self._arrays: dict[Path, tuple[np.dtype, tuple[int, ...]]] = {self.output_file: (dtype, shape)}
        if refinement.embedding_shape[0]:
            self._arrays[self.folder / "embedding.npy"] = np.dtype(np.float32), refinement.embedding_shape
        self._check_own()

    def embedding(self) -> np.ndarray:
        """Open the embedding, to read and write."""
        return open_memmap(self.folder / "embedding.npy", "r+")

    def output(self) -> np.ndarray:
        """Open the output, likewise."""
        return open_memmap(self.output_file, "r+").reshape(self.refinement.output_shape)

    def start(self, fingerprint: str, max_memory: int) -> int:
        """Return the number of pieces that are done: all that an interrupted run for the same files has finished.

        Raises:
            MemoryError: If `max_memory` is too little.
            OSError: If the disk has no room for the arrays, which take all of theirs now.
        """
        done = self._resume(fingerprint)
        if done is not None:
            return done
        self.refinement.plan(max_memory)
        self.remove()
        self.folder.mkdir()
        try:
            for path, (dtype, shape) in self._arrays.items():
                _allocate(path, dtype, shape)
            plan = {"fingerprint": fingerprint, "work": self.refinement.work}
            write_atomically(self._plan, json.dumps(plan).encode())
            self.finish(0)
        except BaseException:
            self.remove()
            raise
        return 0

    def finish(self, pieces: int) -> None:
        """Note that so many pieces are done."""
        write_atomically(self._finished, str(pieces).encode())

    def remove(self) -> None:
        """Delete the folder, if it is there and holds nothing but what refine has put there."""
        self._check_own()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _resume(self, fingerprint: str) -> int | None:
        """Take over the plan of an interrupted run; None if there is none for the same files, or it is damaged."""
        try:
            plan, done = json.loads(self._plan.read_bytes()), int(self._finished.read_bytes())
            if plan["fingerprint"] != fingerprint:
                return None
            for path, wanted in self._arrays.items():
                array = open_memmap(path, "r")
                if (array.dtype, array.shape) != wanted:
                    return None
            self.refinement.resume(plan["work"])
        except Exception:  # whatever is wrong with it: then it is made anew
            return None
        return done if 0 <= done <= self.refinement.pieces else None

    def _check_own(self) -> None:
        check_own(self.folder, _OWN_FILE)


def check_own(folder: Path, names: re.Pattern[str]) -> None:
    """Raise DataError if the folder of a partial output is there, and holds anything but files of these names."""
    if not os.path.lexists(folder):
        return
    own = folder.is_dir() and not folder.is_symlink()
    if not own or not all(names.fullmatch(path.name) and path.is_file() for path in folder.iterdir()):
        raise DataError(f"{folder} is where pieces of the output go, but not refine's own; move it away")


def partial_folder(out: Path) -> Path:
    """Return where pieces of an output go."""
    return out.with_name(f".{out.name}.partial")


@contextmanager
def room_for(out: Path) -> Iterator[None]:
    """Say what to do if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise OSError(
            f"{out}: no room on the disk ({error.strerror}); make some, and the same command goes on, or give another "
            f"--out"
        ) from error


def _allocate(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Make a .npy file of zeros that has its room on the disk: writing into a mapped file that has none is a SIGBUS."""
    open_memmap(path, "w+", dtype, shape)
    size = path.stat().st_size
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except (AttributeError, OSError) as error:  # the system, or its file system, has no such call
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise
            for start in range(0, size, 1 << 20):  # holes read as zeros
                file.seek(start)
                block = file.read(1 << 20)
                file.seek(start)
                file.write(block)
