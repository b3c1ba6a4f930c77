"""Finds files by name: an ending counts in any case, and a stem belongs to one file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from segaware.data.reading import DataError, reading

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of image files, in lower case; those of files count in any case."""


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a file's name ends in one of `suffixes`, given in lower case, in any case: `A.JPG` is a .jpg."""
    return path.suffix.lower() in suffixes


def files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """List the files of a folder that have one of `suffixes`, by their names without it, in order of name.

    Hidden files, whose names begin with a dot, are not listed: systems and editors leave such beside photographs.

    Args:
        folder: The folder; it has no files if it is not there.
        suffixes: Endings in lower case, dot included. Those of files count in any case.

    Raises:
        DataError: Two files have one stem.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if has_suffix(path, suffixes) and not path.name.startswith(".") and path.is_file():
            if path.stem in files:
                raise DataError(f"{files[path.stem]} and {path} have the same name but for the ending; move one away")
            files[path.stem] = path
    return files


class Finder:
    """Finds the files that a data set names, whatever image format or case of ending they have.

    Each folder is listed once, which is much cheaper than asking for every file.
    """

    def __init__(self) -> None:
        self._listed: dict[tuple[Path, tuple[str, ...]], dict[str, Path]] = {}

    def __call__(self, path: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Path:
        """Return the file beside `path` that has its stem and one of `suffixes`, or `path` if there is none.

        Raises:
            DataError: Two files of the folder have one stem.
        """
        key = path.parent, suffixes
        if key not in self._listed:
            self._listed[key] = files_by_stem(*key)
        return self._listed[key].get(path.stem, path)


def first_folder(root: str | Path, *names: str) -> Path:
    """Return the first of the folders `root/NAME` that is there.

    Raises:
        DataError: If none is.
    """
    folders = [Path(root, name) for name in names]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise DataError(f"{folders[0]}: no such folder" + "".join(f", nor {folder}" for folder in folders[1:]))


def read_names(path: Path, dataset_name: str) -> list[str]:
    """Return the names of images in the list of a split.

    Raises:
        DataError: If there is no such list, or it is empty.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; {dataset_name} names the images of a split there")
    with reading(path, "a list of names"):
        names = path.read_text().split()
    if not names:
        raise DataError(f"{path}: names no image")
    return names


def check_listed(paths: Iterable[Path], source: str) -> None:
    """Check that the files which a list names are there; `source` is what an error calls the list.

    Raises:
        DataError: A file is missing.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: no such file, but {source} names it; {len(missing)} are missing")
