"""Motion boundaries, where the true flow jumps from one pixel to the next, and the distance of every pixel to them."""

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from segaware.constants import UNKNOWN_FLOW_THRESHOLD
from segaware.metrics.precision import double_device


def is_motion(flow: Tensor) -> Tensor:
    """Tell where a flow (..., 2, H, W) holds a motion, not a marker for an unknown one: finite and at most 1e9."""
    # In half precision, which holds no 1e9, infinity would be as large as the threshold.
    return (flow.isfinite() & (flow.abs() <= UNKNOWN_FLOW_THRESHOLD)).all(-3)


def known_flow(flow: Tensor, valid: Tensor) -> Tensor:
    """Where a true flow is known: at valid pixels, if it is finite there and no marker for unknown flow.

    Args:
        flow: (2, H, W) or (N, 2, H, W) floating point, in pixels.
        valid: (H, W) or (N, H, W) bool, where the data set knows the flow.

    Returns:
        Bool, shaped like `valid`. False as well where a component is nan, infinite, or above 1e9 either way.

    Raises:
        ValueError: a shape or dtype is wrong.

    Example:
        >>> flow = torch.tensor([[[1.0, 2e9, torch.nan, 1.0]], [[0.0, 2e9, 0.0, 0.0]]])
        >>> known_flow(flow, torch.tensor([[True, True, True, False]]))
        tensor([[ True, False, False, False]])
    """
    if flow.ndim not in (3, 4) or flow.shape[-3] != 2 or flow.numel() == 0 or not flow.is_floating_point():
        raise ValueError(
            "flow must be floating point of shape (2, H, W) or (N, 2, H, W), not empty, "
            f"got {flow.dtype} of shape {tuple(flow.shape)}"
        )
    shape = (*flow.shape[:-3], *flow.shape[-2:])
    if valid.shape != shape or valid.dtype != torch.bool:
        raise ValueError(f"valid must be bool of shape {shape}, got {valid.dtype} of shape {tuple(valid.shape)}")
    return valid & is_motion(flow)


def motion_boundaries(flow: Tensor, valid: Tensor, threshold: float = 1.0) -> Tensor:
    """Pixels whose flow differs by more than a threshold from that of any of their 4 neighbours.

    The difference is the Euclidean distance between the two flows in pixels; both must be known. So both sides of a
    boundary are marked, and none is found across unknown flow (most of KITTI, and occluded pixels in Middlebury).

    There is no agreed definition, and this one is ours. From one pixel to the next, the flow of an object in affine
    motion changes by about its rotation in radians or its growth as a ratio: hundredths of a pixel, seldom tenths. A
    difference of a pixel is a border between two objects. Sundaram, Brox and Keutzer (ECCV 2010) compare the flow's
    gradient with the flow, ``|grad u|^2 + |grad v|^2 > 0.01 |flow|^2 + 0.002``, which asks for larger jumps where the
    flow is fast. MPI-Sintel (Butler et al., ECCV 2012) measures from occlusion boundaries, which few data sets give.

    Args:
        flow: (2, H, W) or (N, 2, H, W) true flow, floating point, in pixels.
        valid: (H, W) or (N, H, W) bool, where the flow is known.
        threshold: the largest difference inside an object in pixels, 0 or more.

    Returns:
        Bool, shaped like `valid`.

    Raises:
        ValueError: a shape, a dtype or the threshold is wrong.

    Example:
        >>> flow = torch.zeros(2, 1, 5)
        >>> flow[0, :, 3:] = 4.0
        >>> motion_boundaries(flow, torch.ones(1, 5, dtype=torch.bool))
        tensor([[False, False,  True,  True, False]])
    """
    check_threshold(threshold)
    known = known_flow(flow, valid)
    boundary = torch.zeros_like(known)
    for dim in (-2, -1):
        pairs = flow.shape[dim] - 1
        jump = torch.linalg.vector_norm(flow.diff(dim=dim), dim=-3) > threshold
        jump &= known.narrow(dim, 0, pairs) & known.narrow(dim, 1, pairs)
        boundary.narrow(dim, 0, pairs).logical_or_(jump)
        boundary.narrow(dim, 1, pairs).logical_or_(jump)
    return boundary


def boundary_distance(flow: Tensor, valid: Tensor, threshold: float = 1.0) -> Tensor:
    """Euclidean distance, in pixels, of every pixel to the nearest of its image's `motion_boundaries`.

    Args:
        flow: (2, H, W) or (N, 2, H, W) true flow, floating point, in pixels.
        valid: (H, W) or (N, H, W) bool, where the flow is known.
        threshold: the largest difference inside an object in pixels, 0 or more.

    Returns:
        float64, shaped like `valid`: 0 on a boundary, inf everywhere in an image without one. On the device of the
        flow, or on the CPU if that has no float64 (MPS).

    Raises:
        ValueError: a shape, a dtype or the threshold is wrong.

    Example:
        >>> flow = torch.zeros(2, 1, 5)
        >>> flow[0, :, 3:] = 4.0
        >>> boundary_distance(flow, torch.ones(1, 5, dtype=torch.bool))
        tensor([[2., 1., 0., 0., 1.]], dtype=torch.float64)
    """
    boundary = motion_boundaries(flow, valid, threshold)
    images = boundary.reshape(-1, *boundary.shape[-2:]).cpu().numpy()
    distances = [
        ndimage.distance_transform_edt(~image) if image.any() else np.full(image.shape, np.inf) for image in images
    ]
    return torch.from_numpy(np.array(distances)).reshape(boundary.shape).to(double_device(flow.device))


def check_threshold(threshold: float) -> None:
    """Raise a ValueError unless the threshold of motion boundaries is 0 or more and finite."""
    if not 0 <= threshold < math.inf:
        raise ValueError(f"threshold must be 0 or more and finite, got {threshold}")
