"""Shards, files of many samples: tar files in WebDataset's layout, or Parquet."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from segaware.cluster.places import Place
from segaware.data import IMAGE_SUFFIXES, DataError
from segaware.extras import import_extra

_IMAGE = "image"  # the column of Parquet
_ROWS = 8  # of Parquet that are in memory at a time
_FIRST_BYTES = {
    b"\x93NUMPY": ".npy",
    b"PK": ".npz",
    b"\x89PNG": ".png",
    b"PIEH": ".flo",
    b"PF": ".pfm",
    b"Pf": ".pfm",
}


class Content(NamedTuple):
    """The content of a file, and the end of its name, such as ".npy"."""

    data: bytes
    ending: str


class Column(NamedTuple):
    """Where a sample has what belongs to its image: endings of files in a tar, columns of Parquet.

    Attributes:
        read: Of what is read beside the image, and replaced; None for nothing.
        written: Of what is written where nothing is replaced, in a tar file without its suffix.
    """

    read: str | None
    written: str = ""


Parts: TypeAlias = Callable[[], tuple[Content, Content | None]]
"""Gives a sample's image, and what is read beside it.

Raises:
    DataError: If it has none.
"""
Make: TypeAlias = Callable[[str, Parts], Content | None]
"""Makes the output of a sample of its key and its parts; None if that failed."""


def is_shards(name: str) -> bool:
    """Tell whether a name is a URL, a shard, or a folder that holds any."""
    path = Path(name)
    return "://" in name or path.suffix in TRANSFORMS or any(any(path.glob(f"*{suffix}")) for suffix in TRANSFORMS)


def find_shards(place: Place) -> list[str]:
    """Return the URLs of the shards in a folder, by name; or that of a shard.

    Raises:
        DataError: If there are none.
    """
    suffixes = tuple(TRANSFORMS)
    if place.is_file() and place.name.endswith(suffixes):
        return [place.url]
    names = sorted(name for name in place.names() if name.endswith(suffixes) and not name.startswith("."))
    if not names:
        raise DataError(f"{place.url}: no shard, and no folder that holds any (files of {', '.join(suffixes)})")
    return [f"{place.url}/{name}" for name in names]


def transform_tar(source: BinaryIO, target: BinaryIO, column: Column, make: Make) -> None:
    """Copy a tar file, with an output for each sample in the place of its image and of what was read beside it.

    Files that follow each other and have the same name up to its first dot are a sample. Those whose output failed are
    left out.

    Args:
        source: The shard.
        target: The copy.
        column: What is read and written.
        make: Makes the outputs.

    Raises:
        DataError: If the shard is damaged.
    """
    source.seek(0, os.SEEK_END)
    source.seek(max(0, source.tell() - tarfile.BLOCKSIZE))
    if source.read().strip(b"\0"):  # tarfile takes a file that was cut between two files for a whole one
        raise DataError("not a tar file, or cut off: it does not end in zeros")
    source.seek(0)
    try:
        with tarfile.open(fileobj=source, mode="r|") as given, tarfile.open(fileobj=target, mode="w") as copy:
            for key, files in _samples(given):
                output = make(key, lambda files=files: _parts(files, column))  # type: ignore[misc]
                if output is None:
                    continue
                kept = {ending: data for ending, data in files.items() if not _is_image(ending)}
                if column.read is None:
                    kept[f"{column.written}{output.ending}"] = output.data
                else:
                    kept.pop(column.read, None)
                    kept[str(PurePosixPath(f"_.{column.read}").with_suffix(output.ending))[2:]] = output.data
                for ending, data in kept.items():
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(data)
                    copy.addfile(member, BytesIO(data))
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"not a tar file, or damaged: {error}") from error


def _samples(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the key of each sample, and its files by their endings."""
    before, files = "", dict[str, bytes]()
    for member in archive:
        if not member.isfile():
            continue
        folder, slash, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        key = folder + slash + stem
        if key != before and files:
            yield before, files
            files = {}
        content = archive.extractfile(member)
        assert content is not None  # of a file there is
        before, files[ending] = key, content.read()
    if files:
        yield before, files


def _is_image(ending: str) -> bool:
    return f".{ending.lower()}" in IMAGE_SUFFIXES


def _parts(files: dict[str, bytes], column: Column) -> tuple[Content, Content | None]:
    images = [ending for ending in files if _is_image(ending) and ending != column.read]
    if len(images) != 1:
        raise DataError(f"a sample must have one image, got files of {', '.join(files)}")
    if column.read is not None and column.read not in files:
        raise DataError(f"there is no .{column.read} beside the image, but files of {', '.join(files)}")
    beside = None if column.read is None else Content(files[column.read], f".{column.read}")
    return Content(files[images[0]], f".{images[0]}"), beside


def transform_parquet(source: BinaryIO, target: BinaryIO, column: Column, make: Make) -> None:
    """Copy a Parquet file likewise; its columns hold files as bytes, and a row's key is its number.

    Raises:
        DataError: If the file is damaged, or lacks a column.
    """
    pyarrow = import_extra("pyarrow", "Parquet needs PyArrow", "ray")
    parquet = import_extra("pyarrow.parquet", "Parquet needs PyArrow", "ray")
    try:
        given = parquet.ParquetFile(source)
        names, writer, number = given.schema_arrow.names, None, 0
        for name in (_IMAGE, column.read):
            if name is not None and name not in names:
                raise DataError(f"there is no column {name!r}, but {', '.join(names)}")
        for batch in given.iter_batches(_ROWS):
            outputs = []
            for row in range(len(batch)):
                output = make(str(number + row), lambda row=row, batch=batch: _row_parts(batch, row, column))  # type: ignore[misc]
                outputs.append(None if output is None else output.data)
            number += len(batch)
            made = pyarrow.array(outputs, pyarrow.large_binary())
            kept = batch.drop_columns([name for name in (_IMAGE, column.read) if name is not None])
            kept = kept.append_column(column.read or column.written, made).filter(made.is_valid())
            writer = writer or parquet.ParquetWriter(target, kept.schema)
            writer.write_batch(kept)
        if writer is None:
            raise DataError("holds no rows")
        writer.close()
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"not a Parquet file, or damaged: {error}") from error


def _row_parts(batch: Any, row: int, column: Column) -> tuple[Content, Content | None]:
    def content(name: str) -> bytes:
        value = batch.column(name)[row].as_py()
        if not isinstance(value, bytes):
            raise DataError(f"column {name!r} must hold a file's bytes, got {type(value).__name__}")
        return value

    image = Content(content(_IMAGE), "")
    if column.read is None:
        return image, None
    data = content(column.read)
    endings = (ending for first, ending in _FIRST_BYTES.items() if data.startswith(first))
    return image, Content(data, next(endings, ".safetensors"))  # which begins with a number


TRANSFORMS: dict[str, Callable[[BinaryIO, BinaryIO, Column, Make], None]] = {
    ".tar": transform_tar,
    ".parquet": transform_parquet,
}
"""By the suffixes of shards."""
