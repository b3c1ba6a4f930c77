"""What the tests of docs/outputs.md share: its code, and a shape whose borders are known."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import segaware

PAGE = Path(__file__).parents[2] / "docs/outputs.md"
SIZE = 301, 451  # odd, so that everything is rounded
SURE = 1e-5  # the least probability of a network
BORDERS = 103.3, 70.25, 281.6, 207.5  # left, top, right and bottom of the shape, in pixels


def code(title: str) -> list[str]:
    """Return the blocks of code under a heading."""
    (section,) = re.findall(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.M | re.S)
    return re.findall(r"```python\n(.*?)```", section, re.S)


def run(block: str, names: dict[str, Any], **options: Any) -> SimpleNamespace:
    """Run a block of code; what it gives `segaware.refine` is overridden by `options`."""
    stand_in = SimpleNamespace(refine=lambda *args, **given: segaware.refine(*args, **given | options))
    namespace = {"np": np, "torch": torch, "segaware": stand_in} | names
    with torch.no_grad():
        exec(compile(block, str(PAGE), "exec"), namespace)
    return SimpleNamespace(**{name: value for name, value in namespace.items() if not name.startswith("__")})


def painted() -> np.ndarray:
    """Return an image, black, with a white rectangle in `BORDERS`; its pixels on the border are in part white."""
    left, top, right, bottom = BORDERS
    covered = [
        np.clip(stop - np.arange(n), 0, 1) * np.clip(np.arange(n) + 1 - start, 0, 1)
        for n, start, stop in zip(SIZE, (top, left), (bottom, right), strict=True)
    ]
    return np.repeat((255 * np.outer(*covered)).round().astype(np.uint8)[..., None], 3, 2)


def seen(pixel_values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return what a perfect network of that output size sees of the shape: how much of every cell it covers, (h, w)."""
    channel = pixel_values[:1, :1].float()
    channel = (channel - channel.min()) / (channel.max() - channel.min())
    return F.interpolate(channel, size, mode="bilinear", antialias=True)[0, 0].clamp(SURE, 1 - SURE)


def borders(mask: Any) -> tuple[float, ...]:
    """Return left, top, right and bottom of a mask (H, W), in pixels; of soft borders, the middle."""
    mask = np.asarray(mask, np.float64)
    row, column = SIZE[0] // 2, SIZE[1] // 2
    edge = 8  # beyond the image's, there may be anything
    lines = mask[row, edge:column], mask[edge:row, column], mask[row, column:-edge], mask[row:-edge, column]
    left, top, right, bottom = (line.sum() for line in lines)
    return column - left, row - top, column + right, row + bottom


def error(mask: Any, wanted: tuple[float, ...] = BORDERS) -> float:
    """Return by how many pixels the worst border is aside."""
    return max(abs(a - b) for a, b in zip(borders(mask), wanted, strict=True))


def network(**outputs: Callable[[Tensor], Tensor]) -> Callable[..., SimpleNamespace]:
    """Return a stand-in for a network of transformers, of outputs that are functions of `pixel_values`."""
    return lambda pixel_values, **_: SimpleNamespace(**{k: f(pixel_values) for k, f in outputs.items()})
