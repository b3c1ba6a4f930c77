"""Data sets by name: what is known of each without reading it, and how it is opened.

A data set is one record, which the module of its reader registers at its end. To add one to segaware, write that
module and import it in `segaware/data/__init__.py` (`segaware/data/flow/__init__.py` for optical flow). To use one of
your own, of whatever task, register its record before a recipe names it. Modules of readers import packages such as
SciPy where they use it, so that no name costs what only a reader needs.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from torch.utils.data import Dataset

from segaware.data.palettes import voc_palette
from segaware.data.reading import DataError

Split = Literal["train", "val"]
"""The splits that data sets have."""


@dataclass(frozen=True, eq=False)
class DatasetRecord:
    """A data set: what is known of it without reading it, and how it is opened.

    Attributes:
        name: By which recipes know it.
        task: What its targets are: `"segmentation"`, `"flow"`, or a task of your own.
        reader: Called as `reader(root, split, transform)`, with `length` and `size` by keyword where they are given;
            returns the samples of a split.
        layout: The files that are read, as paths below the data root; `""` if nothing is.
        classes: Class names in index order; empty if there are none: labels are regions, or the task has other targets.
        palette: Colours in which label maps are drawn, uint8 RGB (256, 3); VOC's by default.
        splits: Those that there are.
        is_generated: Whether samples are made as they are asked for, in any number and size.
        tolerance: How far borders of its labels may be off, in pixels; embeddings learn from what is further away.
        ground: Whether class 0 is all that is behind objects: many regions, not one.

    Raises:
        ValueError: `palette` has another shape or type.
    """

    name: str
    task: str
    reader: Callable[..., Dataset[Any]]
    layout: str
    classes: tuple[str, ...] = ()
    palette: np.ndarray = field(default_factory=voc_palette)
    splits: tuple[str, ...] = get_args(Split)
    is_generated: bool = False
    ground: bool = False
    tolerance: int = 0

    def __post_init__(self) -> None:
        if self.palette.shape != (256, 3) or self.palette.dtype != np.uint8:
            raise ValueError(f"palette must be uint8 (256, 3), got {self.palette.dtype} {self.palette.shape}")

    @property
    def num_classes(self) -> int | None:
        """Number of classes, None if there are none."""
        return len(self.classes) or None

    def open(
        self,
        split: str,
        root: Path | None = None,
        transform: Callable[[Any], Any] | None = None,
        length: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> Dataset[Any]:
        """Open a split.

        Args:
            split: One of `splits`. Generated data sets make two series that share no sample. Data sets of flow that
                their authors did not split are for scoring, so that nobody scores on what was trained on: their
                `"val"` is all of them, and they have no `"train"`. To train on one, open its class.
            root: The data root, which holds the data set's own folder; may be None if nothing is read.
            transform: Applied to each sample.
            length: Number of samples to generate; None is the reader's own choice.
            size: (height, width) of generated samples in pixels; None is the reader's own choice.

        Returns:
            The samples.

        Raises:
            ValueError: There is no such split, `length` or `size` is given for data that are not generated, or is out
                of range.
            DataError: The data set is on disk and `root` is None, or files are missing.

        Example:
            >>> pairs = dataset("flying_shapes").open("val", length=2, size=(64, 96))
            >>> len(pairs), pairs[0].flow.shape
            (2, torch.Size([2, 64, 96]))
        """
        if split not in self.splits:
            splits = " or ".join(map(repr, self.splits))
            raise ValueError(f"split must be {splits} for data set {self.name!r}, which has no others, got {split!r}")
        generated = {key: value for key, value in (("length", length), ("size", size)) if value is not None}
        if generated and not self.is_generated:
            raise ValueError(f"data set {self.name!r} has its own length and size, but got {generated}")
        if self.layout and root is None:
            raise DataError(
                f"data set {self.name!r} is read from disk: pass --data-root FOLDER or set SEGAWARE_DATA=FOLDER, "
                f"with {self.layout} in it"
            )
        try:
            return self.reader(root, split, transform, **generated)
        except DataError as error:
            raise DataError(f"{error}; data set {self.name!r} wants {self.layout} below {root}") from error


_records: dict[str, DatasetRecord] = {}


def register_dataset(record: DatasetRecord) -> None:
    """Make a data set known by its name, in recipes too.

    Args:
        record: The data set.

    Raises:
        ValueError: The name is taken.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> def read_steps(root, split, transform, length=1000):
        ...     return TensorDataset(torch.arange(length))
        >>> register_dataset(DatasetRecord("steps", "counting", read_steps, layout="", is_generated=True))
        >>> len(dataset("steps").open("train", length=7)), dataset_names("counting")
        (7, ('steps',))
    """
    if record.name in _records:
        raise ValueError(f"there is a data set {record.name!r} already, for {_records[record.name].task}")
    _records[record.name] = record


def dataset_names(task: str | None = None) -> tuple[str, ...]:
    """Return the names of all data sets, or of those for a task, in order.

    Args:
        task: The task; None is all of them.

    Example:
        >>> dataset_names("segmentation")[:3]
        ('ade', 'ade_scored', 'bsds500')
    """
    return tuple(sorted(name for name, record in _records.items() if task in (None, record.task)))


def dataset(name: str, task: str | None = None) -> DatasetRecord:
    """Return the record of a data set.

    Args:
        name: One of `dataset_names(task)`.
        task: The task that it must be for; None takes any.

    Raises:
        ValueError: The name is unknown. The message has the nearest and all known ones.

    Example:
        >>> dataset("scenes").classes
        ('ground', 'stripes', 'checker', 'dots', 'grain', 'waves')
    """
    known = dataset_names(task)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        kind = "data set" if task is None else f"data set for {task}"
        raise ValueError(f"unknown {kind} {name!r}: {hint}there are {', '.join(known) or 'none'}")
    return _records[name]


def check_split(split: str) -> None:
    """Raise a ValueError unless `split` is one of `Split`."""
    if split not in get_args(Split):
        raise ValueError(f"split must be 'train' or 'val', got {split!r}")
