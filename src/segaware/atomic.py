"""Writing a file so that readers see the old one or the whole new one, never half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a temporary name in the folder of a file; what the `with` block wrote there is moved into place at its end.

    Args:
        path: File to write; an existing one is replaced, and kept if the block raises an error.

    Raises:
        FileNotFoundError: If the folder of `path` does not exist.
    """
    check_folder(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(path: Path) -> None:
    """Raise FileNotFoundError unless the folder of a file to write exists."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name in the same folder, then move it into place.

    Args:
        path: file to write; an existing one is replaced, and kept if writing fails.
        content: what the file shall hold.

    Raises:
        FileNotFoundError: the folder of `path` does not exist.
    """
    with replaced(Path(path)) as temporary:
        temporary.write_bytes(content)
