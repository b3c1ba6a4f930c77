"""The base class of data sets of photographs with label maps on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from segaware.data.images import check_pair, read_image, to_sample
from segaware.data.sample import Sample, Transform


class LabelledImages(Dataset[Sample]):
    """Photographs with label maps, read from files. A data set lists its pairs and says how to read a label.

    Args:
        pairs: The image and the label file of each sample, in order.
        transform: Applied to each sample.

    Raises:
        DataError: On access, a file is broken or a label does not fit its image.
    """

    def __init__(self, pairs: list[tuple[Path, Path]], transform: Transform | None) -> None:
        self.pairs, self.transform = pairs, transform

    def _read_label(self, path: Path) -> np.ndarray:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a photograph, uint8 (H, W, 3), and its label map, integers (H, W), before any transform."""
        image_path, label_path = self.pairs[index]
        image, label = read_image(image_path), self._read_label(label_path)
        check_pair(image, label, label_path)
        return image, label

    def __getitem__(self, index: int) -> Sample:
        sample = to_sample(*self.read(index), self.pairs[index][0].stem)
        return self.transform(sample) if self.transform else sample
