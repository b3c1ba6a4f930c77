"""What every data set of this package yields."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

IGNORE_INDEX = 255


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


Transform = Callable[[Sample], Sample]
