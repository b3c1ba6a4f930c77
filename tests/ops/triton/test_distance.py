"""The Triton kernels of embedding_distance against its reference."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from segaware import embedding_distance
from segaware.ops.distance import library
from segaware.ops.window import Window

from ..random_windows import RandomWindow, random_windows
from ..test_distance_kernels import METRICS, SYMMETRIC, Metric
from .comparison import DEVICE, few, random_numbers, results, same_as_reference

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def compare(embedding: Tensor, **options: Any) -> None:
    same_as_reference(lambda e, backend: embedding_distance(e, **options, backend=backend), [embedding])


@few
@given(random_windows(), st.sampled_from(METRICS), st.integers(1, 2), st.integers(1, 5), st.sampled_from(DTYPES))
@example(RandomWindow((3, 3), {"padding": 1}, (1, 1)), "euclidean", 1, 2, torch.float32)  # one pixel
@example(
    RandomWindow((5, 5), {"padding": "same", "dilation": 9}, (3, 4)), "l1", 1, 2, torch.float32
)  # beyond the image
@example(RandomWindow((3, 3), {"padding": 3}, (2, 2)), "sqeuclidean", 1, 2, torch.float32)  # centres outside the image
@example(RandomWindow((5, 1), {"padding": (2, 0)}, (6, 1)), "l1", 2, 3, torch.float32)  # one column
@example(RandomWindow((1, 1), {"padding": 0}, (4, 3)), "l1", 1, 2, torch.float32)  # the centre alone
def test_random_windows(window: RandomWindow, metric: Metric, batch: int, channels: int, dtype: torch.dtype) -> None:
    embedding = random_numbers(batch, channels, *window.image_size).to(dtype)
    compare(embedding, kernel_size=window.kernel_size, metric=metric, **window.geometry)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 33, 9, 15), SYMMETRIC),  # 135 pixels: three blocks of them
        ((1, 70, 5, 6), SYMMETRIC),  # two blocks of channels
        ((1, 70, 5, 6), {"kernel_size": (2, 3), "padding": 1, "stride": 2}),
        ((1, 5, 11, 13), {"kernel_size": (4, 3), "padding": 2}),
        ((1, 4, 13, 11), {"kernel_size": 3, "padding": 4, "stride": (1, 2)}),
    ],
)
def test_several_blocks(shape: tuple[int, ...], options: dict[str, Any], metric: Metric) -> None:
    compare(random_numbers(*shape), metric=metric, **options)


@pytest.mark.parametrize("programs", [1, 3, 264])
def test_taps_shared_between_programs(programs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from segaware.ops.distance import _triton

    monkeypatch.setattr(_triton, "PROGRAMS", programs)
    for options in (SYMMETRIC, {"kernel_size": 3}):
        compare(random_numbers(1, 5, 8, 9), **options)


def test_the_gradient_has_the_format_of_the_embedding() -> None:
    embedding = random_numbers(2, 3, 4, 5)
    for form in (torch.channels_last, torch.contiguous_format):
        _, grad = results(
            partial(embedding_distance, **SYMMETRIC, backend="triton"), [embedding.contiguous(memory_format=form)]
        )
        assert grad.is_contiguous(memory_format=form)


@pytest.mark.parametrize("options", [SYMMETRIC, {"kernel_size": (2, 3), "stride": 2, "padding": 1}])
def test_offsets_of_64_bits(options: dict[str, Any], wide_offsets: Callable[[], None]) -> None:
    wide_offsets()
    compare(random_numbers(2, 5, 7, 6), metric="euclidean", **options)


def test_memory_layouts(relayout: Callable[[Tensor], Tensor]) -> None:
    embedding = random_numbers(2, 7, 6, 5)
    for other in (relayout(embedding), embedding[:1].expand(2, -1, -1, -1)):
        compare(other, **SYMMETRIC)


@pytest.mark.parametrize("metric", METRICS)
def test_nan_stays_where_its_windows_are(metric: Metric) -> None:
    embedding = random_numbers(1, 2, 9, 9)
    embedding[0, 1, 4, 0] = torch.nan  # at the left border: the pixels before it in memory are far away
    run = partial(embedding_distance, kernel_size=3, padding=1, metric=metric, backend="triton")
    distance, grad = results(run, [embedding])
    window = torch.zeros(9, 9, dtype=torch.bool, device=DEVICE)
    window[3:6, :2] = True
    assert distance[0].isnan().any(0).equal(window) and distance[0, 4].isnan().sum() == 1
    assert not grad[0, 0].isnan().any() and not grad[0, 1][~window].isnan().any()


def test_an_empty_batch() -> None:
    run = partial(embedding_distance, kernel_size=3, stride=2, padding=1, backend="triton")
    distance, grad = results(run, [torch.zeros(0, 4, 5, 6, device=DEVICE)])
    assert distance.shape == (0, 9, 3, 3) and grad.shape == (0, 4, 5, 6)


@pytest.mark.parametrize("metric", METRICS)
def test_the_operator_is_registered_properly(metric: Metric) -> None:
    embedding = torch.randn(2, 3, 4, 5, requires_grad=True, device=DEVICE)
    arguments = (embedding, Window.of((2, 3), 2, 1).numbers(), metric, "triton")
    torch.library.opcheck(library.embedding_distance, arguments)
    embedding = embedding.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(library.embedding_distance, (embedding, *arguments[1:]))
