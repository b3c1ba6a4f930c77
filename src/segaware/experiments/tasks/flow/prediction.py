"""Predicting optical flow from frame to frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segaware.data import write_png
from segaware.data.flow.files import KITTI_RANGE, write_flo, write_kitti_flow
from segaware.data.flow.frames import Frames
from segaware.devices import default_device
from segaware.viz import side_by_side
from segaware.viz.flow_colors import flow_colors, flow_legend
from segaware.viz.panels import MIN_WIDTH


def predict_flow(network: nn.Module, frames: Frames, out: Path, max_norm: float | None = None) -> Iterator[Path]:
    """Predict the flow of pairs of frames one by one, yielding the .flo file of each when all its files are written.

    For a pair NAME, `out/flo/NAME.flo` holds the flow; `out/kitti/NAME.png` too, as KITTI does, where flow out of its
    range is marked as not known; and `out/pictures/NAME.png` shows the first frame beside the flow in colours and their
    legend. Files of an earlier prediction are replaced.

    Args:
        network: Network that maps two batches of images, RGB (N, 3, H, W) in 0..1, to flow (N, 2, H, W) in pixels.
        frames: The frames.
        out: Folder to write, made if it is not there.
        max_norm: Length of flow in pixels that is drawn in full colour, so that pictures can be compared and those of
            a video do not flicker. None takes the longest of every picture.

    Raises:
        ValueError: If `max_norm` is not a positive number; before anything is predicted, like the next.
        OSError: If the folders cannot be made.
        FloatingPointError: If a predicted flow is not finite.
    """
    if max_norm is not None and not 0 < max_norm < math.inf:
        raise ValueError(f"max_norm must be a positive number of pixels, got {max_norm}")
    for kind in ("flo", "kitti", "pictures"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    network = network.to(default_device()).eval()
    return _predict(network, frames, out, max_norm)


def flow_paths(name: str, out: Path) -> tuple[Path, Path, Path]:
    """Return the files of a pair: .flo, KITTI's PNG, and the picture."""
    return out / "flo" / f"{name}.flo", out / "kitti" / f"{name}.png", out / "pictures" / f"{name}.png"


def _predict(network: nn.Module, frames: Frames, out: Path, max_norm: float | None) -> Iterator[Path]:
    for name, image1, image2 in frames:
        flow = _flow(network, image1, image2)
        if not flow.isfinite().all():
            raise FloatingPointError(f"{name}: the network's flow is not finite")
        flo, kitti, picture = flow_paths(name, out)
        write_png(picture, _picture(image1, flow, max_norm))
        fits = ((flow >= KITTI_RANGE[0]) & (flow <= KITTI_RANGE[1])).all(0)
        values = flow.permute(1, 2, 0).contiguous().numpy()
        write_kitti_flow(kitti, values, fits.numpy())
        write_flo(flo, values)
        yield flo


@torch.inference_mode()
def _flow(network: nn.Module, image1: np.ndarray, image2: np.ndarray) -> Tensor:
    """Return the flow, float32 (2, H, W) on the CPU, from one image to the other, uint8 RGB (H, W, 3)."""
    device = next(network.parameters()).device
    batches = (torch.from_numpy(image).permute(2, 0, 1)[None].to(device).float() / 255 for image in (image1, image2))
    return network(*batches)[0].float().cpu()


def _picture(image: np.ndarray, flow: Tensor, max_norm: float | None) -> np.ndarray:
    full_color = max_norm or flow.norm(dim=0).max().item() or 1.0  # anything for stillness
    # As wide as the narrowest picture that `side_by_side` does not enlarge.
    legend = flow_legend(MIN_WIDTH, full_color)
    panels = [("image", image), ("flow", flow_colors(flow, max_norm)), ("legend", legend)]
    height = max(image.shape[0], MIN_WIDTH)
    return side_by_side([(caption, _padded(picture, height)) for caption, picture in panels])


def _padded(picture: np.ndarray, height: int) -> np.ndarray:
    """Put white below a picture."""
    return np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=255)
