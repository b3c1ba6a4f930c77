"""Berkeley Segmentation Data Set: photographs, each cut into regions by several people (Arbelaez et al. 2011)."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset

from segaware.constants import IGNORE_INDEX
from segaware.data.images import find_pairs
from segaware.data.labelled_images import LabelledImages
from segaware.data.reading import DataError, reading
from segaware.data.registry import DatasetRecord, Split, check_split, register_dataset
from segaware.data.sample import Sample, Transform
from segaware.data.voc import VOC, VOC_LAYOUT


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


class BSDS500(LabelledImages):
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

    def __init__(self, root: str | Path, split: Split, transform: Transform | None = None) -> None:
        check_split(split)
        folder = Path(root) / "bsds500"
        super().__init__(find_pairs(folder / "images" / split, folder / "segments" / split, ".npz"), transform)
        self.split = split

    def _read_label(self, path: Path) -> np.ndarray:
        segments = _read_segments(path)
        return segments[int(torch.randint(len(segments), ())) if self.split == "train" else 0]


def _read_with_voc(root: Path, split: Split, transform: Transform | None) -> Dataset[Sample]:
    """Regions of both for an embedding: VOC's are objects, BSDS500's are parts of objects and of backgrounds too."""
    voc = VOC(root, split, transform)
    return ConcatDataset([voc, BSDS500(root, split, transform)]) if split == "train" else voc


_LAYOUT = "bsds500/images/{train,val}/ID.jpg and bsds500/segments/{train,val}/ID.npz"
register_dataset(DatasetRecord("bsds500", "segmentation", BSDS500, _LAYOUT))
# Its class 0 is VOC's ground and BSDS500's first region; a mixture names the two apart.
register_dataset(DatasetRecord("voc_bsds500", "segmentation", _read_with_voc, f"{_LAYOUT}; and {VOC_LAYOUT}"))
