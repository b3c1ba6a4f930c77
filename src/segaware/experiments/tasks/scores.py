"""What scores of all tasks share: counts per image, kept in a file."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from typing_extensions import Self

from segaware import ranks
from segaware.atomic import replaced
from segaware.data import reading
from segaware.progress import progress

Predictor = Callable[[Any, int], Callable[[], Tensor]]
"""Called with a sample, as a batch of one, and its index; returns what computes its prediction, which is timed."""


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

    @classmethod
    def measure(
        cls,
        predictor: Predictor,
        samples: DataLoader[Any],
        count: Callable[[Tensor, Any], dict[str, Tensor]],
        title: str,
        constants: Mapping[str, Any],
    ) -> Self:
        """Count what a method predicts, sample by sample; several processes share the samples.

        Args:
            predictor: The method.
            samples: The samples, in batches of one: named tuples that begin with an image and have a `name`.
            count: Called with a prediction and its sample; returns what is counted, by attribute of the subclass.
            title: Of the method, for the progress bar.
            constants: Other attributes of the subclass.
        """
        images, seconds = {}, []
        share = ranks.share(len(samples))
        batches = DataLoader(Subset(samples.dataset, share), 1) if ranks.world_size() > 1 else samples
        for index, sample in zip(share, progress(batches, f"scoring {title}", "image"), strict=True):
            predict = predictor(sample, index)
            started = time.perf_counter()
            prediction = predict().cpu()
            seconds.append(time.perf_counter() - started)
            images[index] = sample.name[0], sample[0].shape[-2:], count(prediction, sample)
        everywhere = ranks.gathered((images, seconds[1:] or seconds))
        every = dict(sorted(image for images, _ in everywhere for image in images.items()))
        names, sizes, counts = zip(*every.values(), strict=True)
        return cls(
            names=names,
            sizes=torch.tensor(sizes),
            milliseconds=1000 * statistics.median(second for _, seconds in everywhere for second in seconds),
            **cls.collect(counts),
            **constants,
        )

    @classmethod
    def collect(cls, counts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stack what was counted on every image."""
        return {name: torch.stack([one[name] for one in counts]) for name in counts[0]}

    def save(self, path: Path) -> None:
        """Write everything to an .npz file, whole or not at all."""
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in asdict(self).items()}
        with replaced(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Args:
            path: The file.

        Raises:
            DataError: If the file is damaged, or holds scores of another kind.
        """
        values: dict[str, Any] = {}
        with reading(path, f"{cls.__name__} of a table"), np.load(path, allow_pickle=False) as file:
            for field in fields(cls):
                array = file[field.name]
                if field.type in (Tensor, "Tensor"):
                    values[field.name] = torch.from_numpy(array)
                else:
                    values[field.name] = tuple(array.tolist()) if array.ndim else array.item()
        return cls(**values)
