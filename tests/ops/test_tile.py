"""The functions of _tile.py against NumPy, for lengths around whole vectors."""

from typing import Any

import numpy as np
import pytest

from segaware.ops._parallel import kernel
from segaware.ops._tile import (
    ROWS,
    add,
    multiply_tile,
    panel_width,
    scaled_copy,
    scatter_and_dot,
    transpose,
    vector_lanes,
)

random = np.random.default_rng(0)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@kernel
def run_scaled_copy(target: Any, source: Any, factor: Any, count: int) -> None:
    scaled_copy(target, 2, source, 3, factor, count)


@kernel
def run_add(target: Any, a: Any, b: Any, count: int) -> None:
    add(target, 2, a, 3, b, 1, count)


@kernel
def run_scatter_and_dot(a: Any, b: Any, target: Any, factor: Any, count: int) -> Any:
    return scatter_and_dot(a, 2, b, 3, target, 1, factor, count)


@kernel
def run_transpose(target: Any, target_rows: Any, source: Any, source_rows: Any) -> None:
    transpose(target, 5, target_rows, source, 7, source_rows)


@kernel
def run_multiply_tile(
    a: Any, a_row: int, a_step: int, b: Any, b_step: int, steps: int, tile: Any, tile_row: int
) -> None:
    multiply_tile(a, 4, a_row, a_step, b, 6, b_step, steps, tile, 3, tile_row)


@each_dtype
@pytest.mark.parametrize("count", [0, 1, 7, 16, 31, 32, 70])
def test_vector_loops(dtype: type, count: int) -> None:
    a, b, target = random.normal(size=(3, 80)).astype(dtype)
    factor = dtype(0.7)

    expected = target.copy()
    expected[2 : 2 + count] = factor * a[3 : 3 + count]
    run_scaled_copy(actual := target.copy(), a, factor, count)
    np.testing.assert_array_equal(actual, expected)

    expected = target.copy()
    expected[2 : 2 + count] = a[3 : 3 + count] + b[1 : 1 + count]
    run_add(actual := target.copy(), a, b, count)
    np.testing.assert_array_equal(actual, expected)

    expected = target.copy()
    expected[1 : 1 + count] += factor * a[2 : 2 + count]
    dot = run_scatter_and_dot(a, b, actual := target.copy(), factor, count)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert dot == pytest.approx(a[2 : 2 + count].astype(float) @ b[3 : 3 + count], abs=1e-5)


@each_dtype
def test_transpose(dtype: type) -> None:
    lanes = vector_lanes(np.dtype(dtype).itemsize)
    source, target = random.normal(size=(2, 40 * lanes)).astype(dtype)
    source_rows = random.permutation(lanes) * (lanes + 3)
    target_rows = random.permutation(lanes) * (lanes + 5)
    expected = target.copy()
    for i in range(lanes):
        expected[5 + target_rows[i] : 5 + target_rows[i] + lanes] = source[7 + source_rows + i]
    run_transpose(target, target_rows, source, source_rows)
    np.testing.assert_array_equal(target, expected)


@each_dtype
@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("steps", [1, 50])
def test_multiply_tile(dtype: type, by_rows: bool, steps: int) -> None:
    width = panel_width(np.dtype(dtype).itemsize)
    a, b = random.normal(size=(ROWS, steps)), random.normal(size=(steps, width + 2))
    flat_a = np.concatenate([np.full(4, np.nan), (a if by_rows else a.T).ravel()]).astype(dtype)
    flat_b = np.concatenate([np.full(6, np.nan), b.ravel()]).astype(dtype)
    tile = np.full(3 + ROWS * (width + 1), np.nan, dtype)
    run_multiply_tile(flat_a, *((steps, 1) if by_rows else (1, ROWS)), flat_b, width + 2, steps, tile, width + 1)
    rows = tile[3:].reshape(ROWS, width + 1)
    np.testing.assert_allclose(rows[:, :width], a @ b[:, :width], rtol=1e-4, atol=1e-4)
    assert np.isnan(rows[:, width]).all() and np.isnan(tile[:3]).all()
