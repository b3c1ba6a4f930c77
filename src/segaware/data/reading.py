"""`DataError`, the one error of every file that is missing, broken or of another format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DataError(ValueError):
    """A file or folder of a data set is missing, broken or not what it should be."""


@contextmanager
def reading(path: str | Path, what: str, problem: str | None = None) -> Iterator[None]:
    """Turn whatever a library raises while it reads a file into one error that names the file.

    Every library has errors of its own for damaged files, and some depend on where the damage is.

    Args:
        path: The file.
        what: What it should be, such as "an image".
        problem: What an error says of the file, in place of "cannot be read as" and `what`.

    Raises:
        DataError: If the `with` block raises anything but this, MemoryError, or a missing package.
    """
    try:
        yield
    except (DataError, MemoryError, ModuleNotFoundError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:
        kind, reason = type(error).__name__, " ".join(str(error).split())
        if not reason or isinstance(error, LookupError):  # whose text is the key alone
            reason = f"{kind}: {reason}" if reason else kind
        raise DataError(f"{path}: {problem or f'cannot be read as {what}'} ({reason})") from error
