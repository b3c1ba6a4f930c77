"""The sample type (a named tuple of tensors) that data sets of optical flow yield."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class FlowSample(NamedTuple):
    """Two images and the motion between them. A `DataLoader` stacks samples into a `FlowSample` of batches.

    Attributes:
        image1: float32 RGB (3, H, W) in 0..1.
        image2: The next image, as `image1`.
        flow: float32 (2, H, W), u to the right and v down in pixels: what is at (x, y) in `image1` is at
            (x + u, y + v) in `image2`. 0 where it is not known.
        valid: bool (H, W), where the flow is known.
        occluded: bool (H, W), what `image2` does not show; False everywhere if the data set does not say.
        name: The sample's name inside its data set, fit for a file name.
    """

    image1: Tensor
    image2: Tensor
    flow: Tensor
    valid: Tensor
    occluded: Tensor
    name: str


FlowTransform = Callable[[FlowSample], FlowSample]
"""What changes a sample of optical flow, such as `FlowRandomCrop`."""
