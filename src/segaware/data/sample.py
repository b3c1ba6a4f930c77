"""The sample types (named tuples of tensors) that data sets of segmentation yield."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Sample(NamedTuple):
    """One image with its labels. A `DataLoader` stacks samples into a `Sample` of batches.

    Attributes:
        image: float32 RGB (3, H, W) in 0..1.
        label: int64 (H, W); `IGNORE_INDEX` marks pixels that nobody labelled.
        name: The sample's name inside its data set, fit for a file name.
    """

    image: Tensor
    label: Tensor
    name: str


class PredictedSample(NamedTuple):
    """A `Sample` with what a network that is not ours has said of every pixel.

    Attributes:
        image: As in `Sample`.
        label: As in `Sample`.
        name: As in `Sample`.
        scores: float32 logits (C, H, W), resampled to the image, unrefined.
    """

    image: Tensor
    label: Tensor
    name: str
    scores: Tensor


class ScoredSample(NamedTuple):
    """A `Sample` with what a network has said of it.

    Attributes:
        image: As in `Sample`.
        label: As in `Sample`.
        name: As in `Sample`.
        scores: float32 class scores (C, h, w); score (i, j) is that of image pixel (s * i, s * j), s the stride.
        embedding: The image's embedding (E, h, w) at the stride of the refinement; without elements if it is not known.
    """

    image: Tensor
    label: Tensor
    name: str
    scores: Tensor
    embedding: Tensor


Transform = Callable[[Sample], Sample]
"""What changes a sample, such as `RandomCrop`."""
