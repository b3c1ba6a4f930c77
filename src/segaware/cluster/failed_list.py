"""The list `failed.csv` of what a run could not refine."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from segaware.atomic import write_atomically
from segaware.data import DataError


def check_failed_list(path: Path, columns: Sequence[str]) -> None:
    """Raise DataError if a file of this name is there that is no list with these columns."""
    if not path.exists():
        return
    if path.is_file():
        with path.open("rb") as file:
            if file.readline(100).strip() == ",".join(columns).encode():
                return
    raise DataError(f"{path} is where failures are listed, but not refine's own; move it away")


def write_failed_list(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write the list of this run, in place of that of an earlier one; without rows there is none."""
    rows = list(rows)
    if not rows:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)  # if not one image has made it
    write_atomically(path, list_content([columns, *rows]))


def list_content(rows: Iterable[Sequence[object]]) -> bytes:
    """Return the content of a list, given its columns' names and its rows; names of files need not be text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")
