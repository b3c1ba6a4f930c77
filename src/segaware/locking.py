"""File locks: one process at a time may write, and the lock of a process that has died is free."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt


class LockedError(OSError):
    """Another process is writing the same thing."""


@contextmanager
def locked(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock for the length of a `with` block, or fail at once.

    The operating system holds it for the process, and lets go when the process ends, however it ends. The file names
    its holder, for whoever is refused; it is removed in the end, and one that is left over counts as none.

    Args:
        lock: File to lock, in a folder that exists.
        what: What the lock is of, the beginning of the error's message.

    Raises:
        LockedError: If another process, or another `with` block of this one, holds the lock.
        OSError: If the file cannot be made, or its file system has no locks.
    """
    descriptor = _acquire(lock, what)
    try:
        os.write(descriptor, _holder().encode())
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file: there it stays
            lock.unlink()
        os.close(descriptor)


def _acquire(lock: Path, what: str) -> int:
    def at_once(descriptor: int) -> None:
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except (BlockingIOError, PermissionError):
            holder = os.read(descriptor, 1000).decode(errors="replace") if fcntl else ""  # Windows locks its bytes
            raise LockedError(
                f"{what} is being written by {holder or 'another process'}; wait for it, or stop it first"
            ) from None

    descriptor = open_locked(lock, at_once)
    os.ftruncate(descriptor, 0)
    return descriptor


def open_locked(path: Path, lock: Callable[[int], None]) -> int:
    """Open a file, make it if it is not there, and lock it; return its descriptor, open for reading and writing.

    Args:
        path: The file.
        lock: Locks the file of a descriptor, or raises an error, which goes on to the caller.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        # Whoever held it may have removed the file after it was opened here: such a lock guards nothing.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def _holder() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} ({shlex.join(sys.argv)[:200]})"
