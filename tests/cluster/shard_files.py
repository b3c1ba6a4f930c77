"""Shards for tests, and what is in them."""

import io
import tarfile
from pathlib import Path

Sample = dict[str, bytes]


def write_tar(path: Path, samples: dict[str, Sample]) -> None:
    with tarfile.open(path, "w") as archive:
        for key, files in samples.items():
            for ending, data in files.items():
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def read_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
