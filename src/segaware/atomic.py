"""Atomic writes: readers see the old file or the whole new one, never half of it."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segaware.locking import fcntl, open_locked  # the first is None on Windows

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors that making room mends."""
_MANY, _PAUSE = 1000, 1.0  # folders of so many files are searched for left-over files only so often, in seconds
_next_search: dict[Path, float] = {}


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a temporary name in the folder of a file; what the `with` block wrote there is moved into place at its end.

    Temporary files of the same file that killed processes have left behind are removed.

    Args:
        path: File to write; an existing one is replaced, and kept if the block raises an error.

    Raises:
        FileNotFoundError: If the folder of `path` does not exist.
    """
    check_folder(path)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = _claim(temporary)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def _claim(temporary: Path) -> int | None:
    """Make an empty file and lock it, by which others see that its process lives, on whatever machine."""
    if fcntl is None:  # no open file can be moved there
        return None

    def if_possible(descriptor: int) -> None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    return open_locked(temporary, if_possible)


def _sweep(path: Path) -> None:
    if fcntl is None or time.monotonic() < _next_search.get(path.parent, 0):
        return
    names = os.listdir(path.parent)
    if len(names) > _MANY:
        _next_search[path.parent] = time.monotonic() + _PAUSE
    for name in names:
        left = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.tmp", name)
        if left and not _runs(int(left[1])):
            with suppress(OSError):  # locked on another machine, or another process sweeps too
                descriptor = os.open(path.with_name(name), os.O_RDWR)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.with_name(name).unlink()
                finally:
                    os.close(descriptor)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is another user's, or no number of a process
        return True
    return True


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
