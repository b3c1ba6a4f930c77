"""The Triton kernels of segaware_upsample against its reference."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from segaware.ops import segaware_upsample
from segaware.ops.upsampling import library
from segaware.ops.upsampling.taps import places

from ..test_upsampling_kernels import Size, sides, sizes
from ..test_upsampling_kernels import arguments as cpu_arguments
from .comparison import DEVICE, few, results, same_as_reference

# The gradient of the hardness is a sum of differences to the output, which is rounded to its type.
TOLERANCES = {torch.float16: 0.02, torch.bfloat16: 0.15, torch.float32: None, torch.float64: None}


def arguments(*shape: Any) -> list[Tensor]:
    return [t.to(DEVICE) for t in cpu_arguments(*shape)]


def compare(tensors: list[Tensor], **options: Any) -> None:
    run = lambda *leaves: segaware_upsample(*leaves[:-1], **options, backend=leaves[-1])  # noqa: E731
    same_as_reference(run, tensors, TOLERANCES[tensors[0].dtype])


@settings(few, max_examples=4)
@given(st.integers(1, 2), sizes, sizes, st.integers(1, 2), sides, sides, st.sampled_from(list(TOLERANCES)))
@example(1, (1, 1), (1, 1), 1, None, None, torch.float32)
def test_random_sizes(
    channels: int, points: Size, pixels: Size, radius: int, rows: Any, columns: Any, dtype: torch.dtype
) -> None:
    compare(arguments(2, channels, 3, points, pixels, dtype), radius=radius, rows=rows, columns=columns)


def test_several_blocks(wide_offsets: Callable[[], None]) -> None:
    # 135 pixels: two blocks; 33 channels: two blocks of them for the gradients of points
    wide_offsets()
    compare(arguments(1, 33, 2, (2, 3), (9, 15)))


def test_embeddings_of_another_type() -> None:
    values, *others = arguments(1, 2, 3, (2, 3), (5, 6), torch.float32)
    compare([values.half(), *others])


def test_an_empty_batch() -> None:
    run = partial(segaware_upsample, backend="triton")
    output, *grads = results(run, arguments(0, 2, 3, (2, 3), (5, 6)))
    assert output.shape == (0, 2, 5, 6) and grads[1].shape == (0, 3, 5, 6) and grads[3] == 0


@pytest.mark.parametrize("dtype", [torch.float32])
def test_the_operator_is_registered_properly(dtype: torch.dtype) -> None:
    tensors = [t.requires_grad_() for t in arguments(1, 2, 2, (2, 2), (3, 4), dtype)]
    ends = [places(None, n, 2, torch.device(DEVICE)) for n in (3, 4)]
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(library.upsample, (*tensors, *ends, 1, "triton"), test_utils=tests)
