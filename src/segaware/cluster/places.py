"""Files and folders of this machine or behind a URL such as s3://bucket/folder, by fsspec."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any

from segaware.atomic import replaced
from segaware.extras import import_extra


class Place:
    """A file or folder.

    Args:
        url: Its path or URL.

    Attributes:
        url: Its URL, absolute.
        name: The last part of it.

    Raises:
        ValueError: If no file system has such URLs, or its package is missing.
    """

    def __init__(self, url: str) -> None:
        try:
            self._fs, self._path = import_extra("fsspec.core", "shards need fsspec", "ray").url_to_fs(url.rstrip("/"))
        except ImportError as error:  # fsspec says which package is missing
            raise ValueError(f"{url}: {error}") from error
        self.url: str = self._fs.unstrip_protocol(self._path)
        self.name = PurePosixPath(self._path).name
        self._is_local = self.url.startswith("file:")

    def is_folder(self) -> bool:
        """Tell whether it is a folder."""
        return bool(self._fs.isdir(self._path))

    def is_file(self) -> bool:
        """Tell whether it is a file."""
        return bool(self._fs.isfile(self._path))

    def names(self) -> set[str]:
        """Return what is in the folder, nothing if it is not there."""
        if not self.is_folder():
            return set()
        return {PurePosixPath(path).name for path in self._fs.ls(self._path, detail=False, refresh=True)}

    def below(self, name: str) -> Place:
        """Return what has this name in the folder."""
        return Place(f"{self.url}/{name}")

    def open(self) -> Any:
        """Open the file to read."""
        return self._fs.open(self._path, "rb")

    @contextmanager
    def replaced(self) -> Iterator[Path]:
        """Give the name of a local file; what the `with` block wrote there is this file at its end, or nothing is.

        Object stores show what is uploaded when it is whole.
        """
        if self._is_local:
            local = Path(self._path)
            local.parent.mkdir(parents=True, exist_ok=True)
            with replaced(local) as temporary:
                yield temporary
            return
        with NamedTemporaryFile() as file:
            yield Path(file.name)
            self._fs.makedirs(self._path.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(file.name, self._path)

    def remove(self) -> None:
        """Delete the file, if it is there."""
        if self.is_file():
            self._fs.rm_file(self._path)
