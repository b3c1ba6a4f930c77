"""The Numba kernels of embedding_distance against its reference."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from segaware import embedding_distance
from segaware.ops._backends import Backend
from segaware.ops.distance import library
from segaware.ops.window import Window

from .random_windows import RandomWindow, random_windows, repeatable

pytestmark = pytest.mark.usefixtures("uninitialised_is_nan")

Metric = Literal["l1", "sqeuclidean", "euclidean"]
METRICS: tuple[Metric, ...] = ("l1", "sqeuclidean", "euclidean")
# As in nn: every pixel is the centre of one window.
SYMMETRIC = {"kernel_size": 5, "padding": "same", "dilation": 2}


def random_numbers(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Embeddings with ties, or gradients; bfloat16 can hold them."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul(8).round().div(8).to(dtype)


def results(embedding: Tensor, backend: Backend | None, **options: Any) -> list[Tensor]:
    """The distances and the gradient of the embedding."""
    leaf = embedding.detach().requires_grad_()
    distance = embedding_distance(leaf, **options, backend=backend)
    grad = random_numbers(*distance.shape, dtype=distance.dtype)
    return [distance.detach(), *torch.autograd.grad(distance, leaf, grad)]


def same_as_reference(embedding: Tensor, **options: Any) -> None:
    expected = results(embedding.double(), "reference", **options)
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}[embedding.dtype]
    for a, b in zip(results(embedding, "numba", **options), expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)


@settings(repeatable, max_examples=200)
@given(random_windows(), st.sampled_from(METRICS), st.integers(1, 2), st.integers(1, 9), st.sampled_from([32, 64]))
@example(RandomWindow((3, 3), {"padding": 1}, (1, 1)), "euclidean", 1, 2, 64)  # one pixel
@example(RandomWindow((5, 5), {"padding": "same", "dilation": 9}, (3, 4)), "l1", 1, 2, 64)  # a window beyond the image
@example(RandomWindow((3, 3), {"padding": 3}, (2, 2)), "sqeuclidean", 1, 2, 64)  # centres outside the image
@example(RandomWindow((5, 1), {"padding": (2, 0)}, (6, 1)), "l1", 2, 9, 32)  # one column
def test_random_windows(window: RandomWindow, metric: Metric, batch: int, channels: int, bits: int) -> None:
    embedding = random_numbers(batch, channels, *window.image_size, dtype=getattr(torch, f"float{bits}"))
    same_as_reference(embedding, kernel_size=window.kernel_size, metric=metric, **window.geometry)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 5, 70, 41), SYMMETRIC),
        ((1, 3, 37, 600), {"kernel_size": 3, "padding": 1}),
        ((1, 4, 70, 41), {"kernel_size": (4, 3), "padding": 2}),
        ((1, 6, 70, 41), {"kernel_size": 3, "padding": 4, "stride": (1, 2)}),
        ((1, 6, 70, 41), {"kernel_size": 3, "padding": 1, "stride": (3, 1)}),
    ],
)
@pytest.mark.parametrize("numbers_at_once", [1 << 15, 500])
def test_many_tasks(
    shape: tuple[int, ...],
    options: dict[str, Any],
    metric: Metric,
    numbers_at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from segaware.ops.distance import _numba

    monkeypatch.setattr(_numba, "_SUMS", numbers_at_once)  # 500: taps one after the other
    same_as_reference(random_numbers(*shape), metric=metric, **options)


@pytest.mark.parametrize("metric", METRICS)
def test_bfloat16_is_computed_in_float32(metric: Metric) -> None:
    same_as_reference(random_numbers(1, 20, 9, 8, dtype=torch.bfloat16), metric=metric, **SYMMETRIC)


@pytest.mark.parametrize("options", [SYMMETRIC, {"kernel_size": 3, "stride": 2}])
def test_memory_layouts(options: dict[str, Any], relayout: Callable[[Tensor], Tensor]) -> None:
    embedding = random_numbers(2, 7, 10, 11)
    for other in (relayout(embedding), embedding[:1].expand(2, -1, -1, -1)):
        same_as_reference(other, **options)


def test_an_expanded_gradient() -> None:
    grads = []
    for backend in ("reference", "numba"):
        leaf = random_numbers(1, 3, 6, 7).requires_grad_()
        grads += torch.autograd.grad(embedding_distance(leaf, **SYMMETRIC, backend=backend).sum(), leaf)  # type: ignore[arg-type]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("options", [SYMMETRIC, {"kernel_size": (2, 3), "stride": (1, 2), "padding": 1}])
def test_the_number_of_threads_changes_nothing(metric: Metric, options: dict[str, Any], with_threads: Any) -> None:
    embedding = torch.randn(2, 9, 70, 41)
    run = partial(results, embedding, "numba", metric=metric, **options)
    one, *others = (with_threads(threads, run) for threads in (1, 2, 5))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("metric", METRICS)
def test_nan_stays_where_its_windows_are(metric: Metric) -> None:
    embedding = random_numbers(1, 2, 9, 9)
    embedding[0, 1, 4, 0] = torch.nan  # at the left border: the pixels before it in memory are far away
    distance, grad = results(embedding, "numba", kernel_size=3, padding=1, metric=metric)
    window = torch.zeros(9, 9, dtype=torch.bool)
    window[3:6, :2] = True
    assert distance[0].isnan().any(0).equal(window)
    assert not grad[0, 0].isnan().any() and not grad[0, 1][~window].isnan().any()


def test_an_empty_batch() -> None:
    distance, grad = results(torch.zeros(0, 4, 5, 6), "numba", kernel_size=3, stride=2, padding=1)
    assert distance.shape == (0, 9, 3, 3) and grad.shape == (0, 4, 5, 6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("options", [SYMMETRIC, {"kernel_size": (4, 2), "padding": 2, "stride": (2, 1)}])
def test_gradcheck(metric: Metric, options: dict[str, Any]) -> None:
    # A permutation has no ties, where the L1 distance has no gradient to check.
    embedding = torch.randperm(60, generator=torch.Generator().manual_seed(0)).double().view(1, 3, 4, 5) / 10
    run = partial(embedding_distance, **options, metric=metric, backend="numba")
    assert torch.autograd.gradcheck(run, (embedding.requires_grad_(),))


@pytest.mark.parametrize("metric", METRICS)
def test_backward_keeps_no_columns(metric: Metric, saved_bytes: Callable[[Callable[[], Tensor]], int]) -> None:
    embedding = torch.randn(1, 16, 30, 30, requires_grad=True)
    run = partial(embedding_distance, embedding, 3, padding=1, metric=metric, backend="numba")
    assert saved_bytes(run) == embedding.nbytes + run().nbytes


@pytest.mark.parametrize("metric", METRICS)
def test_the_operator_is_registered_properly(metric: Metric) -> None:
    for window in (Window.of(3, padding="same"), Window.of((2, 3), 2, 1)):
        embedding = torch.randn(2, 3, 5, 6, requires_grad=True)
        torch.library.opcheck(library.embedding_distance, (embedding, window.numbers(), metric, "numba"))


def test_compile_and_export_see_through_it() -> None:
    class Layer(torch.nn.Module):
        def forward(self, embedding: Tensor) -> Tensor:
            return embedding_distance(embedding, 3, padding=1, metric="euclidean").exp()

    embedding = torch.randn(2, 4, 9, 8, requires_grad=True)
    compiled = torch.compile(Layer(), fullgraph=True, backend="aot_eager")
    outputs = Layer()(embedding), compiled(embedding)
    for actual, expected in (outputs, [torch.autograd.grad(y.sum(), embedding)[0] for y in outputs]):
        torch.testing.assert_close(actual, expected)
    exported = torch.export.export(Layer(), (embedding,))
    assert "segaware.embedding_distance" in str(exported.graph)
    torch.testing.assert_close(exported.module()(embedding), Layer()(embedding))
