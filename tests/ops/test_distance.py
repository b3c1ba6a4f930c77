"""embedding_distance, the distance of Eq. 1 and Eq. 3."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from segaware.ops import embedding_distance

from . import numpy_loops
from .random_windows import RandomWindow, random_windows, repeatable

METRICS = ("l1", "sqeuclidean", "euclidean")
Metric = Literal["l1", "sqeuclidean", "euclidean"]


def test_worked_example() -> None:
    image = torch.tensor([[1.0, 2, 5, 2, 3], [9, 4, 1, 4, 8], [1, 2, 5, 2, 3]])
    distance = embedding_distance(image.expand(1, 2, 3, 5), kernel_size=3)
    assert distance.shape == (1, 9, 1, 3)
    assert distance[0, :, 0].tolist() == [
        [6, 2, 2],
        [4, 8, 4],
        [2, 2, 2],
        [10, 6, 6],
        [0, 0, 0],
        [6, 6, 8],
        [6, 2, 2],
        [4, 8, 4],
        [2, 2, 2],
    ]


@repeatable
@given(random_windows(), st.sampled_from(METRICS), st.integers(0, 2), st.integers(1, 3))
@example(RandomWindow((3, 3), {"padding": 1}, (1, 1)), "l1", 1, 2)  # an image smaller than the window
@example(RandomWindow((5, 5), {"padding": "same", "dilation": 9}, (3, 4)), "l1", 1, 2)
@example(RandomWindow((3, 3), {"padding": 3}, (2, 2)), "l1", 1, 2)  # most centres are outside
def test_numpy_loop(random_window: RandomWindow, metric: Metric, batch: int, channels: int) -> None:
    kernel_size, geometry, image_size = random_window
    embedding = np.random.default_rng(0).normal(size=(batch, channels, *image_size))
    expected = numpy_loops.embedding_distance(embedding, kernel_size, metric, **geometry)
    distance = embedding_distance(torch.from_numpy(embedding), kernel_size, metric=metric, **geometry)
    torch.testing.assert_close(distance, torch.from_numpy(expected))


@pytest.mark.parametrize("metric", METRICS)
def test_taps_and_centres_outside_the_image_read_zero(metric: Metric) -> None:
    distance = embedding_distance(torch.full((1, 1, 1, 1), 3.0), 3, padding=2, metric=metric)
    assert torch.equal(distance, torch.zeros(1, 9, 3, 3))


@pytest.mark.parametrize(
    ("metric", "expected"), [("l1", [0, -2, 2]), ("sqeuclidean", [0, -8, 8]), ("euclidean", [0, -2, 2])]
)
def test_gradient_is_zero_at_ties(metric: Metric, expected: list[float]) -> None:
    # The first two pixels are equal; the last two pull at each other, once from either side.
    embedding = torch.tensor([1.0, 1.0, 3.0]).view(1, 1, 1, 3).requires_grad_()
    embedding_distance(embedding, (1, 3), padding=(0, 1), metric=metric).sum().backward()
    assert embedding.grad is not None
    assert embedding.grad.flatten().tolist() == expected


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("kernel_size", "geometry"),
    [
        (3, {"padding": 1}),
        (3, {"stride": 2, "padding": 1}),
        (3, {"padding": 2, "dilation": 2}),
        ((2, 4), {"padding": (1, 2)}),
        ((4, 1), {"padding": "same"}),
    ],
)
def test_gradient(metric: Metric, kernel_size: Any, geometry: dict[str, Any]) -> None:
    # A permutation has no ties, where the L1 distance has no gradient to check.
    embedding = torch.randperm(40, dtype=torch.float64).view(1, 2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda e: embedding_distance(e, kernel_size, metric=metric, **geometry), (embedding / 10,)
    )


@pytest.mark.parametrize("metric", METRICS)
def test_layouts_give_the_same_distances_and_gradients(metric: Metric, relayout: Callable[[Tensor], Tensor]) -> None:
    embedding = torch.randn(2, 5, 6, 7)
    results = []
    for image in (embedding, relayout(embedding)):
        image = image.requires_grad_()
        distance = embedding_distance(image, 3, stride=2, padding=1, metric=metric)
        results.append((distance, torch.autograd.grad(distance.square().sum(), image)[0]))
    assert results[1][1].shape == embedding.shape
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dtypes(metric: Metric, dtype: torch.dtype) -> None:
    embedding = torch.randn(2, 3, 8, 8).to(dtype)
    distance = embedding_distance(embedding, 3, padding=1, metric=metric)
    expected = embedding_distance(embedding.double(), 3, padding=1, metric=metric)
    assert distance.dtype == dtype
    # One rounding, at the end: channels added up in half precision would be further off.
    torch.testing.assert_close(distance.double(), expected, rtol=torch.finfo(dtype).eps / 2 + 1e-6, atol=1e-6)


def test_one_image_is_a_batch_of_one() -> None:
    embedding = torch.randn(4, 5, 6)
    distance = embedding_distance(embedding, 3, padding=1)
    assert distance.shape == (9, 5, 6)
    assert torch.equal(distance, embedding_distance(embedding[None], 3, padding=1)[0])


def test_an_empty_batch_has_an_empty_gradient() -> None:
    embedding = torch.zeros(0, 4, 5, 6, requires_grad=True)
    distance = embedding_distance(embedding, 3, stride=2, padding=1)
    distance.sum().backward()
    assert distance.shape == (0, 9, 3, 3)
    assert embedding.grad is not None and embedding.grad.shape == embedding.shape


@pytest.mark.parametrize("metric", METRICS)
def test_keeps_no_columns_for_the_backward_pass(
    metric: Metric, saved_bytes: Callable[[Callable[[], Tensor]], int]
) -> None:
    embedding = torch.randn(1, 64, 24, 24, requires_grad=True)
    columns = 9 * embedding.nbytes
    assert saved_bytes(lambda: embedding_distance(embedding, 3, padding=1, metric=metric)) < columns / 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embedding": torch.zeros(4, 5)}, r"^embedding must be .*\(N, E, H, W\).*got torch.float32 of shape \(4, 5\)"),
        ({"embedding": torch.zeros(1, 2, 4, 5, dtype=torch.int64)}, "^embedding must be .*got torch.int64"),
        ({"kernel_size": 0}, "^kernel_size must be .*got 0"),
        ({"stride": 0}, "^stride must be .*got 0"),
        ({"padding": -1}, "^padding must be .*got -1"),
        ({"padding": "reflect"}, "^padding must be .*got 'reflect'"),
        ({"padding": "same", "stride": 2}, '^padding="same" needs stride 1, got stride 2'),
        ({"dilation": 0}, "^dilation must be .*got 0"),
        ({"metric": "l2"}, "^metric must be .*euclidean.*got 'l2'"),
        ({"kernel_size": 6}, r"kernel_size \(6, 6\).*only 4x5"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        embedding_distance(**{"embedding": torch.zeros(1, 2, 4, 5), "kernel_size": 3, **arguments})


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("metric", ["l1", "sqeuclidean", "euclidean"])
def test_under_autocast(metric: Any, backend: Any) -> None:
    embedding = torch.randn(1, 60, 5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        distance = embedding_distance(embedding, 3, padding=1, metric=metric, backend=backend)
    expected = numpy_loops.embedding_distance(embedding.double().numpy(), 3, metric, padding=1)
    torch.testing.assert_close(distance.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
