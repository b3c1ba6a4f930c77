"""Checks of output paths: no input is overwritten, and no existing file without `--overwrite`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path] = (), overwrite: bool = False) -> None:
    """Check that files can be written, before any work is done for them. Nothing is created.

    Args:
        outputs: The files to write.
        inputs: Files that are read, which may never be among them, by whatever name or link.
        overwrite: Whether files that are there may be replaced.

    Raises:
        ValueError: If a file to write is one of those to read.
        FileExistsError: If files are there, and may not be replaced.
        OSError: If there is a folder in the place of one, or its folder cannot be made or written.
    """
    outputs = list(outputs)
    read = {(status.st_dev, status.st_ino): path for path in inputs if (status := _status(path)) is not None}
    there = [path for path in outputs if os.path.lexists(path)]
    for path in there:
        status = _status(path)
        if status is not None and (status.st_dev, status.st_ino) in read:
            source = read[status.st_dev, status.st_ino]
            raise ValueError(f"{path} is to be written, but it is what is read ({source}): choose another output")
        if path.is_dir():
            raise IsADirectoryError(f"{path} is to be written as a file, but it is a folder")
    if there and not overwrite:
        more = f", and {len(there) - 1} more of {len(outputs)} files" if len(there) > 1 else ""
        raise FileExistsError(f"{there[0]} is there already{more}; pass --overwrite to replace what is there")
    for folder in {path.parent for path in outputs}:
        check_folder_can_be_written(folder)


def check_apart(folders: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise ValueError if one of the folders to write is one that is read from, where outputs would become inputs."""
    read = {(status.st_dev, status.st_ino) for path in inputs if (status := _status(path.parent)) is not None}
    for folder in folders:
        status = _status(folder)
        if status is not None and (status.st_dev, status.st_ino) in read:
            raise ValueError(f"{folder} is to be written, but it is the folder that is read: choose another --out")


def _status(path: Path) -> os.stat_result | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return path.stat()
    return None


def check_folder_can_be_written(folder: Path) -> None:
    """Raise OSError unless files can be written into a folder, which may be one that is still to be made."""
    place = folder
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(f"cannot write into {folder}: {place} is no folder")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise type(error)(f"cannot write into {folder}: {error.strerror or error}") from error


def make_folder(folder: Path) -> None:
    """Create a folder if it is not there, and raise OSError unless files can be written into it."""
    check_folder_can_be_written(folder)
    folder.mkdir(parents=True, exist_ok=True)


def wrote_table(path: Path, name: str) -> bool:
    """Tell whether a file is the JSON of the table of this name, which the same command may replace."""
    with suppress(OSError, ValueError, RecursionError):
        values = json.loads(path.read_bytes())
        return isinstance(values, dict) and values.get("table") == name
    return False
