"""What scores of all tasks share: counts per image, kept in a file."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from segaware.atomic import write_atomically
from segaware.data import reading


@dataclass(frozen=True, kw_only=True)
class ImageScores:
    """What was counted on every image; a subclass says what.

    Attributes:
        names: Names of the N images.
        sizes: Their heights and widths (N, 2).
        milliseconds: Median time of one image, the first left out; of what was not cached.
    """

    names: tuple[str, ...]
    sizes: Tensor
    milliseconds: float

    @property
    def largest(self) -> int:
        """Index of the first of the largest images."""
        return int(self.sizes.prod(1).argmax())

    def save(self, path: Path) -> None:
        """Write everything to an .npz file, whole or not at all."""
        content = io.BytesIO()
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in asdict(self).items()}
        np.savez_compressed(content, **arrays)
        write_atomically(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: If the file is damaged, or holds scores of another kind.
        """
        values: dict[str, Any] = {}
        with reading(path, f"{cls.__name__} of a table"), np.load(path, allow_pickle=False) as file:
            for field in fields(cls):
                array = file[field.name]
                if field.type == "Tensor":
                    values[field.name] = torch.from_numpy(array)
                else:
                    values[field.name] = tuple(array.tolist()) if array.ndim else array.item()
        return cls(**values)
