"""The base class of data sets of optical flow on disk: checks files, reads images and flow, makes samples."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segaware.data.flow.files import known_flow
from segaware.data.flow.sample import FlowSample, FlowTransform
from segaware.data.folders import Finder, first_folder
from segaware.data.images import read_image
from segaware.data.reading import DataError


class Pair(NamedTuple):
    """The files of one sample.

    Attributes:
        name: The sample's name, fit for a file name.
        image1: First image.
        image2: Next image.
        flow: The motion from the first to the next.
        masks: Files that tell what is known of the flow or occluded, where a data set has them.
    """

    name: str
    image1: Path
    image2: Path
    flow: Path
    masks: tuple[Path, ...] = ()


class Motion(NamedTuple):
    """The contents of a pair's files but for its images.

    Attributes:
        flow: float32 (H, W, 2); where `known_flow` says so it is not known, whatever `valid` says.
        valid: bool (H, W), or None for True everywhere.
        occluded: bool (H, W), or None for False everywhere.
    """

    flow: np.ndarray
    valid: np.ndarray | None = None
    occluded: np.ndarray | None = None


class FlowPairs(Dataset[FlowSample]):
    """Pairs of images with their flow, read from files. A data set lists its pairs and says how to read a motion.

    Args:
        pairs: The samples, in order; that their files are there is checked here. An image may have another of
            `IMAGE_SUFFIXES`, and every file its suffix in any case.
        transform: Applied to each sample.

    Raises:
        DataError: A file is missing, or two of a folder have one stem; on access, a file is broken, or an image and a
            flow differ in size.
    """

    def __init__(self, pairs: list[Pair], transform: FlowTransform | None) -> None:
        find = Finder()
        pairs = [
            pair._replace(
                image1=find(pair.image1),
                image2=find(pair.image2),
                flow=find(pair.flow, (pair.flow.suffix.lower(),)),
                masks=tuple(find(mask, (mask.suffix.lower(),)) for mask in pair.masks),
            )
            for pair in pairs
        ]
        files = [path for pair in pairs for path in (pair.image1, pair.image2, pair.flow, *pair.masks)]
        missing = [path for path in files if not path.is_file()]
        if missing:
            raise DataError(f"{missing[0]}: no such file; {len(missing)} files of {len(pairs)} pairs are missing")
        self.pairs = pairs
        self.transform = transform

    def _read_motion(self, pair: Pair) -> Motion:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        pair = self.pairs[index]
        flow, valid, occluded = self._read_motion(pair)
        image1, image2 = read_image(pair.image1), read_image(pair.image2)
        for path, image in ((pair.image1, image1), (pair.image2, image2)):
            check_size(flow, pair.flow, image, path)
        known = known_flow(flow) if valid is None else known_flow(flow) & valid
        sample = FlowSample(
            _channels_first(image1).float().div(255),
            _channels_first(image2).float().div(255),
            _channels_first(np.where(known[..., None], flow, np.float32(0))),
            torch.tensor(known),
            torch.tensor(np.zeros_like(known) if occluded is None else occluded),
            pair.name,
        )
        return self.transform(sample) if self.transform else sample


def _channels_first(array: np.ndarray) -> Tensor:
    return torch.tensor(array).permute(2, 0, 1).contiguous()


def check_size(array: np.ndarray, path: Path, other: np.ndarray, other_path: Path) -> None:
    """Check that two files of a sample have one size.

    Raises:
        DataError: The first two dimensions of the arrays differ; both files are named.
    """
    if array.shape[:2] != other.shape[:2]:
        sizes = ["x".join(map(str, item.shape[:2])) for item in (array, other)]
        raise DataError(f"{path}: its size {sizes[0]} (height x width) is not the {sizes[1]} of {other_path}")


def find_folder(root: str | Path, *names: str) -> Path:
    """Return the first of the folders `root/NAME` and `root/flow/NAME` that is there.

    Raises:
        DataError: If none is.
    """
    return first_folder(root, *names, *(f"flow/{name}" for name in names))
