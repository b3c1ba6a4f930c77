"""The Triton kernels of depthwise convolution, and of groups too narrow for matrix units."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from segaware import segaware_conv2d
from segaware.ops.convolution._triton import narrow

from .test_convolution import arguments, compare, over_random_windows

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")


test_random_windows = over_random_windows(
    [(2, 2, 2), (6, 6, 6), (3, 6, 3), (6, 3, 3), (34, 4, 2), (4, 34, 2), (6, 9, 3)], (2, 2, 2), (4, 4, 4), (4, 2, 2)
)


@pytest.mark.parametrize(
    ("shape", "filters", "kernel_size", "groups"),
    [
        ((1, 70, 6, 13), 70, (3, 3), 70),  # two blocks of channels, three of pixels
        ((2, 3, 19, 14), 3, (2, 9), 3),  # two blocks of taps, and shares of the pixels
        ((1, 48, 7, 8), 80, (3, 3), 16),  # 3 channels and 5 filters in each group, in several blocks
    ],
)
def test_several_blocks(shape: tuple[int, ...], filters: int, kernel_size: tuple[int, int], groups: int) -> None:
    geometry: dict[str, Any] = {"stride": 1, "padding": (1, 2), "dilation": 1}
    compare(arguments(shape, filters, kernel_size, groups, **geometry), **geometry, groups=groups)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_offsets_of_64_bits(dtype: torch.dtype, wide_offsets: Callable[[], None]) -> None:
    wide_offsets()
    compare([t.to(dtype) for t in arguments((2, 6, 7, 6), 6, groups=3)], padding=1, groups=3)


def test_these_kernels_run_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those of matrix products run wider groups."""
    called = []
    real = narrow.compute_output
    monkeypatch.setattr(narrow, "compute_output", lambda *a: called.append(a[5]) or real(*a))
    for channels, groups in ((6, 6), (6, 2), (32, 2), (6, 1)):
        segaware_conv2d(
            *arguments((1, channels, 3, 3), channels, groups=groups), padding=1, groups=groups, backend="triton"
        )
    assert called == [6, 2]
