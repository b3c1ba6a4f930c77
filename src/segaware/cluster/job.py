"""What actors do, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

Files: TypeAlias = tuple[Path, ...]  # what is read, and last what is written


class Failure(NamedTuple):
    """Why something has no new output."""

    reason: str
    held: bool = False  # by another process, which may finish it


class Job(Protocol):
    """What is done to each of many things, in actors that hold on to what is slow to load. It can be pickled."""

    def open(self) -> None:
        """Load what stays loaded."""

    def __call__(self, item: Any, /) -> Any:
        """Do it for one thing, and return what became of it, a `Failure` if that is wrong with the thing itself."""


def reason_of(error: Exception) -> str:
    """Return what to say of an error, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
