"""The Numba kernels of segaware_upsample against its reference."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from segaware.ops import segaware_upsample
from segaware.ops._backends import Backend
from segaware.ops.upsampling import library
from segaware.ops.upsampling.taps import places

from .random_windows import repeatable

pytestmark = pytest.mark.usefixtures("uninitialised_is_nan")

Size = tuple[int, int]


def arguments(
    batch: int, channels: int, dim: int, points: Size, pixels: Size, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Values, embeddings with ties, and a hardness; bfloat16 can hold them."""
    random = torch.Generator().manual_seed(0)
    shapes = ((batch, channels, *points), (batch, dim, *pixels), (batch, dim, *points))
    tensors = [torch.randn(shape, generator=random).mul(8).round().div(8).to(dtype) for shape in shapes]
    return [*tensors, torch.tensor(0.5, dtype=dtype)]


def results(tensors: list[Tensor], backend: Backend | None, **options: Any) -> list[Tensor]:
    """The output and the gradients of all tensors."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    output = segaware_upsample(*leaves, **options, backend=backend)
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, leaves, grad)]


def same_as_reference(tensors: list[Tensor], **options: Any) -> None:
    tolerance = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 2e-2}[tensors[0].dtype]
    expected = results([t.double() for t in tensors], "reference", **options)
    for i, (a, b) in enumerate(zip(results(tensors, "numba", **options), expected, strict=True)):
        limit = tolerance * max(1, b.abs().max().item() if b.numel() else 1)
        torch.testing.assert_close(a.double(), b, rtol=0, atol=limit, msg=lambda m, i=i: f"{i}: {m}")


sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))
sides = st.none() | st.tuples(st.sampled_from([0.0, 0.125, 0.4, 1.0, 1.7]), st.floats(-2, 4))


@settings(repeatable, max_examples=40)
@given(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6), sizes, sizes, st.integers(1, 3), sides, sides)
@example(1, 1, 1, (1, 1), (1, 1), 1, None, None)
@example(1, 9, 5, (3, 4), (6, 70), 2, None, (0.125, 0.0))  # several spans of columns
def test_random_sizes(
    batch: int, channels: int, dim: int, points: Size, pixels: Size, radius: int, rows: Any, columns: Any
) -> None:
    for dtype in (torch.float64, torch.float32):
        same_as_reference(
            arguments(batch, channels, dim, points, pixels, dtype), radius=radius, rows=rows, columns=columns
        )


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize(("points", "pixels"), [((9, 17), (70, 130)), ((40, 9), (70, 64)), ((2, 3), (200, 10))])
def test_many_tasks(points: Size, pixels: Size, radius: int) -> None:
    same_as_reference(arguments(2, 5, 6, points, pixels), radius=radius)


def test_bfloat16_is_computed_in_float32() -> None:
    same_as_reference(arguments(1, 4, 5, (3, 4), (9, 8), torch.bfloat16))


def test_memory_layouts(relayout: Callable[[Tensor], Tensor]) -> None:
    *images, hardness = arguments(2, 4, 5, (3, 4), (10, 11))
    same_as_reference([*map(relayout, images), hardness])
    same_as_reference([*(image[:1].expand(2, -1, -1, -1) for image in images), hardness])


@pytest.mark.parametrize("wanted", range(4))
def test_one_gradient_at_a_time(wanted: int) -> None:
    grads = []
    for backend in ("reference", "numba"):
        tensors = arguments(1, 3, 4, (3, 4), (6, 7))
        tensors[wanted].requires_grad_()
        output = segaware_upsample(*tensors, backend=backend)  # type: ignore[arg-type]
        grads += torch.autograd.grad(output.sum(), tensors[wanted])  # an expanded gradient
    torch.testing.assert_close(*grads)


def test_the_number_of_threads_changes_nothing(with_threads: Any) -> None:
    run = partial(results, arguments(2, 5, 6, (9, 7), (70, 81), torch.float32), "numba")
    one, *others = (with_threads(threads, run) for threads in (1, 2, 5))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("broken", [0, 2])
def test_nan_stays_where_it_is_seen(broken: int, radius: int) -> None:
    """Also by pixels that lie on a point, whose taps may have no weight."""
    tensors = arguments(1, 2, 3, (5, 6), (17, 21))
    tensors[broken][0, :, 2, 3] = torch.nan
    output = segaware_upsample(*tensors, radius, (0.25, 0.0), (0.25, 0.0), backend="numba")
    rows, columns = ((torch.arange(n) - 4 * point).abs() < 4 * radius for n, point in ((17, 2), (21, 3)))
    assert output[0].isnan().any(0).equal(rows[:, None] & columns)


def test_a_distance_that_is_not_finite_is_masked() -> None:
    tensors = arguments(1, 2, 3, (3, 4), (9, 8))
    tensors[2][0, 0, 1, 1] = torch.inf
    actual, expected = (results(tensors, backend) for backend in ("numba", "reference"))  # type: ignore[arg-type]
    assert actual[0].isfinite().all() and actual[4].isfinite()
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_an_empty_batch() -> None:
    output, *grads = results(arguments(0, 2, 3, (2, 3), (5, 6)), "numba")
    assert output.shape == (0, 2, 5, 6) and grads[1].shape == (0, 3, 5, 6) and grads[3] == 0


def test_backward_keeps_no_columns(saved_bytes: Callable[[Callable[[], Tensor]], int]) -> None:
    tensors = [t.requires_grad_() for t in arguments(1, 4, 16, (4, 5), (32, 30), torch.float32)]
    kept = saved_bytes(lambda: segaware_upsample(*tensors, backend="numba"))
    sides = 8 * (32 + 30)
    assert kept <= sum(t.nbytes for t in tensors) + 4 * 4 * 32 * 30 + sides + 8


def test_the_operator_is_registered_properly() -> None:
    for needed in ((True,) * 4, (False, True, False, False)):
        tensors = arguments(2, 3, 4, (2, 3), (5, 6), torch.float32)
        tensors = [t.requires_grad_(need) for t, need in zip(tensors, needed, strict=True)]
        sides = [places(None, n, m, torch.device("cpu")) for n, m in ((5, 2), (6, 3))]
        torch.library.opcheck(library.upsample, (*tensors, *sides, 2, "numba"))


def test_compile_and_export_see_through_it() -> None:
    class Layer(torch.nn.Module):
        def forward(self, input: Tensor, embedding: Tensor, coarse: Tensor, hardness: Tensor) -> Tensor:
            return segaware_upsample(input, embedding, coarse, hardness).exp()

    tensors = tuple(t.requires_grad_() for t in arguments(2, 4, 3, (3, 4), (9, 8), torch.float32))
    compiled = torch.compile(Layer(), fullgraph=True, backend="aot_eager")
    outputs = Layer()(*tensors), compiled(*tensors)
    for actual, expected in (outputs, [torch.autograd.grad(y.sum(), tensors) for y in outputs]):
        torch.testing.assert_close(actual, expected)
    exported = torch.export.export(Layer(), tensors)
    assert "segaware.upsample" in str(exported.graph)
    torch.testing.assert_close(exported.module()(*tensors), Layer()(*tensors))
