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
        begun: Whether there is such a run.

    Raises:
        DataError: If there is such a folder with anything in it that is not of a journal.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        self.folder = partial_folder(out)
        check_own(self.folder, _OWN_FILE)
        self._plan, self._done = self.folder / "plan.json", self.folder / "done.jsonl"
        self.records: list[dict[str, Any]] = []
        self._fingerprint = fingerprint
        self.begun = self._read()

    def _read(self) -> bool:
        """Read the records; return whether there is a run of this fingerprint."""
        try:
            if json.loads(self._plan.read_bytes()) != self._fingerprint:
                return False
            for line in self._done.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    self.records.append(json.loads(line))
        except (OSError, ValueError):  # damaged: what was read before is whole
            return bool(self.records)
        return True

    def start(self) -> None:
        """Make the folder, with the records that are there."""
        if not self.begun:
            self.remove()
            self.folder.mkdir()
        write_atomically(self._done, b"".join(map(_line, self.records)))
        write_atomically(self._plan, json.dumps(self._fingerprint).encode())

    def add(self, record: dict[str, Any]) -> None:
        """Add a record."""
        with self._done.open("ab") as file:
            file.write(_line(record))
        self.records.append(record)

    def remove(self) -> None:
        """Delete the folder."""
        check_own(self.folder, _OWN_FILE)
        if self.folder.exists():
            shutil.rmtree(self.folder)


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"
