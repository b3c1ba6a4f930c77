"""The folder of an output that is not finished, made of many photographs: what is known of each that is done."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from segaware.atomic import write_atomically
from segaware.refining.partial_output import check_own, partial_folder

_OWN_FILE = re.compile(r"\.?(plan\.json|done\.jsonl|\d+\.png)(\..*tmp)?")


class Journal:
    """The records of what is done, one JSON a line. Only the holder of the output's lock may use it.

    A process that is killed leaves at worst half a line, which is cut off.

    Args:
        out: The output.
        fingerprint: What must be the same for a run to go on with the records of another one.

    Attributes:
        folder: The folder, where files of the records may be kept.
        records: Those of an interrupted run, and what was added.

    Raises:
        DataError: If there is such a folder with anything in it that is not of a journal.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        self.folder = partial_folder(out)
        check_own(self.folder, _OWN_FILE)
        self._plan, self._done = self.folder / "plan.json", self.folder / "done.jsonl"
        self.records: list[dict[str, Any]] = []
        lines = self._read(fingerprint)
        if lines is None:
            self.remove()
            self.folder.mkdir()
            write_atomically(self._plan, json.dumps(fingerprint).encode())
        write_atomically(self._done, b"".join(lines or []))

    def _read(self, fingerprint: str) -> list[bytes] | None:
        """Read the records, and return their lines; None if there are none of this fingerprint."""
        try:
            if json.loads(self._plan.read_bytes()) != fingerprint:
                return None
            lines = self._done.read_bytes().splitlines(keepends=True) if self._done.exists() else []
        except (OSError, ValueError):
            return None
        for number, line in enumerate(lines):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("cut off")
                self.records.append(json.loads(line))
            except ValueError:
                return lines[:number]
        return lines

    def add(self, record: dict[str, Any]) -> None:
        """Add a record."""
        with self._done.open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
        self.records.append(record)

    def remove(self) -> None:
        """Delete the folder."""
        check_own(self.folder, _OWN_FILE)
        if self.folder.exists():
            shutil.rmtree(self.folder)
