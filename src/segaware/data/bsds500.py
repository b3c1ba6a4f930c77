"""Berkeley Segmentation Data Set: photographs, each cut into regions by several people (Arbelaez et al. 2011)."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from segaware.data.images import check_pair, find_pairs, read_image, to_sample
from segaware.data.reading import DataError, reading
from segaware.data.sample import IGNORE_INDEX, Sample, Transform


def _read_segments(path: Path) -> np.ndarray:
    """Read every annotator's region map, (annotators, H, W), regions counted from 0."""
    with reading(path, "regions", "holds no readable array 'segments'"), np.load(path, allow_pickle=False) as file:
        segments = file["segments"]
    if segments.ndim != 3 or not np.issubdtype(segments.dtype, np.integer) or segments.size == 0:
        raise DataError(
            f"{path}: 'segments' must be integers of shape (annotators, H, W), got {segments.dtype} {segments.shape}"
        )
    if segments.min() < 1 or segments.max() > IGNORE_INDEX:
        raise DataError(f"{path}: regions must be numbered 1..{IGNORE_INDEX}, got {segments.min()}..{segments.max()}")
    return segments - 1


class BSDS500(Dataset[Sample]):
    """Photographs with one annotator's regions as labels, for the embedding alone: a region number means nothing.

    Reads `root/bsds500/images/SPLIT/ID.jpg` (or any of `IMAGE_SUFFIXES`, in any case) and
    `root/bsds500/segments/SPLIT/ID.npz` (key `segments`, integers (annotators, H, W), regions 1..N). Labels are 0..N-1.
    In `"train"` the annotator is drawn anew at each access, from torch's generator; in `"val"` it is always the first.

    Args:
        root: Folder that holds `bsds500/`.
        split: `"train"` or `"val"`.
        transform: Applied to each sample.

    Raises:
        DataError: A folder or file is missing, or two files have one stem; on access, a file is broken or the regions
            do not fit their image.
        ValueError: `split` is unknown.
    """

    classes: tuple[str, ...] = ()
    num_classes = None

    def __init__(self, root: str | Path, split: Literal["train", "val"], transform: Transform | None = None) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split must be 'train' or 'val', got {split!r}")
        folder = Path(root) / "bsds500"
        self.pairs = find_pairs(folder / "images" / split, folder / "segments" / split, ".npz")
        self.split = split
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        image_path, segments_path = self.pairs[index]
        image, segments = read_image(image_path), _read_segments(segments_path)
        annotator = int(torch.randint(len(segments), ())) if self.split == "train" else 0
        check_pair(image, segments[annotator], segments_path)
        sample = to_sample(image, segments[annotator], image_path.stem)
        return self.transform(sample) if self.transform else sample
