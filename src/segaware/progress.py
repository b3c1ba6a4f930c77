"""Progress on stderr: a progress bar in a terminal, few lines in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], description: str, unit: str, total: int | None = None, done: int = 0) -> Iterator[T]:
    """Yield items and show how many there were: in a terminal with a bar, elsewhere in one line when all are done.

    Args:
        items: The items.
        description: What is done with them.
        unit: What one of them is.
        total: How many there are, with those that were done before; `done + len(items)` if not given.
        done: How many were done before.
    """
    if total is None and isinstance(items, Sized):
        total = done + len(items)
    if sys.stderr.isatty():
        from tqdm.auto import tqdm

        yield from tqdm(items, description, total, initial=done, unit=unit, leave=False)
        return
    for item in items:
        yield item
        done += 1
    print(f"{description}: {done}/{total or done} {unit}s", file=sys.stderr)


class Overall:
    """One line for each of several long jobs, before it begins: which it is, and how long all that is left may take.

    Args:
        verb: What is done, such as "training".
        work: Of every job that will be named, how much work it is, in any unit; 0 is none.
    """

    def __init__(self, verb: str, work: dict[str, float]) -> None:
        self.verb = verb
        self.work = work
        self.started = time.monotonic()
        self.finished = 0.0  # work

    def begin(self, name: str, title: str) -> None:
        """Say that a job begins; what came before it in `work` is done."""
        before = list(self.work)[: list(self.work).index(name)]
        self.finished = sum(self.work[other] for other in before)
        print(f"{self.verb} {len(before) + 1} of {len(self.work)}: {name} - {title}{self._left()}", file=sys.stderr)

    def _left(self) -> str:
        left = sum(self.work.values()) - self.finished
        if not self.finished or not left:  # nothing to judge by
            return ""
        seconds = (time.monotonic() - self.started) * left / self.finished
        return f" (about {duration(seconds)} left for all)"


def duration(seconds: float) -> str:
    """Return a duration as text.

    Example:
        >>> duration(8), duration(100), duration(9000)
        ('8 s', '2 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
