"""What LLVM does not vectorise by itself: sums of rows, blurring along a chain of rows, and transposing.

Rows are runs of channels, of a size that is a multiple of LANES, which are one vector. Arrays are flat and float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from segaware.ops._tile import INDEX, Vectors

LANES = 8


def _vectors(context: Any, builder: Any, array: Any) -> Vectors:
    return Vectors(context, builder, array, LANES)


def _numbers(v: Vectors, array: Any, value: Any) -> Callable[[Any], Any]:
    """Return what loads an integer of an array, as an index."""
    pointer, extend = v.pointer(array, value, INDEX(0)), v.builder.sext if array.dtype.signed else v.builder.zext
    return lambda index: extend(v.builder.load(v.builder.gep(pointer, [index])), INDEX)


def _place(builder: Any, start: Any, step: Any, index: Any) -> Any:
    return builder.add(start, builder.mul(step, index))


def _for_parts(builder: Any, size: Any, body: Callable[[list[Any]], None]) -> None:
    """Call `body` with the offsets of three vectors of a row, as long as there are as many, then of two, or one."""
    start = INDEX(0)
    for count in (3, 2, 1):
        step = INDEX(count * LANES)
        end = builder.sub(size, builder.srem(builder.sub(size, start), step))
        with cgutils.for_range_slice(builder, start, end, step, INDEX) as (offset, _):
            body([builder.add(offset, INDEX(i * LANES)) for i in range(count)])
        start = end


@intrinsic
def gather_row(
    typing_context: Any, target: Any, target_start: Any, source: Any, size: Any, rows: Any, first: Any, numbers: Any,
    weights: Any, start: Any, count: Any,
) -> Any:  # fmt: skip
    """Write a sum of rows: target[target_start + j] = sum over i < count of weights[start + i] * source[row_i + j].

    The place row_i is rows[first + numbers[start + i]] * size, and j < size.
    """
    intp = types.intp
    signature = types.void(target, intp, source, intp, rows, intp, numbers, weights, intp, intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = _vectors(context, builder, signature.args[0])
        target, source, weights = (
            v.pointer(signature.args[i], values[i], start)
            for i, start in ((0, values[1]), (2, INDEX(0)), (7, values[8]))
        )
        row_at, number_at = (_numbers(v, signature.args[i], values[i]) for i in (4, 6))

        def gather(offsets: list[Any]) -> None:
            sums = [cgutils.alloca_once_value(builder, v.constant(0.0)) for _ in offsets]
            with cgutils.for_range(builder, values[9]) as loop:
                row = row_at(builder.add(values[5], number_at(builder.add(values[8], loop.index))))
                weight = v.broadcast(builder.load(builder.gep(weights, [loop.index])))
                for sum, offset in zip(sums, offsets, strict=True):
                    vector = v.load(source, _place(builder, offset, row, values[3]))
                    builder.store(v.fma(vector, weight, builder.load(sum)), sum)
            for sum, offset in zip(sums, offsets, strict=True):
                v.store(builder.load(sum), target, offset)

        _for_parts(builder, values[3], gather)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def scatter_row(
    typing_context: Any, target: Any, size: Any, first: Any, numbers: Any, weights: Any, start: Any, count: Any,
    source: Any, source_start: Any,
) -> Any:  # fmt: skip
    """Add a row to several: target[row_i + j] += weights[start + i] * source[source_start + j] for i < count.

    The place row_i is (first + numbers[start + i]) * size, and j < size.
    """
    intp = types.intp
    signature = types.void(target, intp, intp, numbers, weights, intp, intp, source, intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = _vectors(context, builder, signature.args[0])
        target, weights, source = (
            v.pointer(signature.args[i], values[i], start)
            for i, start in ((0, INDEX(0)), (4, values[5]), (7, values[8]))
        )
        number_at = _numbers(v, signature.args[3], values[3])

        def scatter(offsets: list[Any]) -> None:
            vectors = [v.load(source, offset) for offset in offsets]
            with cgutils.for_range(builder, values[6]) as loop:
                row = builder.add(values[2], number_at(builder.add(values[5], loop.index)))
                weight = v.broadcast(builder.load(builder.gep(weights, [loop.index])))
                for vector, offset in zip(vectors, offsets, strict=True):
                    place = _place(builder, offset, row, values[1])
                    v.store(v.fma(vector, weight, v.load(target, place)), target, place)

        _for_parts(builder, values[1], scatter)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def blur_chain(typing_context: Any, data: Any, size: Any, rows: Any, first: Any, last: Any) -> Any:
    """Add to row rows[i], for first <= i < last, half of what rows[i - 1] and rows[i + 1] were before."""
    intp = types.intp
    signature = types.void(data, intp, rows, intp, intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = _vectors(context, builder, signature.args[0])
        data, row_at = v.pointer(signature.args[0], values[0], INDEX(0)), _numbers(v, signature.args[2], values[2])
        end = builder.sub(values[4], INDEX(1))

        def blur(offsets: list[Any]) -> None:
            def load(index: Any) -> list[Any]:
                row = builder.mul(row_at(index), values[1])
                return [v.load(data, builder.add(row, offset)) for offset in offsets]

            def store(index: Any, after: list[Any]) -> None:
                row = builder.mul(row_at(index), values[1])
                for i, offset in enumerate(offsets):
                    neighbours = builder.fadd(builder.load(before[i]), after[i])
                    half = builder.fmul(neighbours, v.constant(0.5))
                    v.store(builder.fadd(builder.load(here[i]), half), data, builder.add(row, offset))

            before = [cgutils.alloca_once_value(builder, v.constant(0.0)) for _ in offsets]
            here = [cgutils.alloca_once_value(builder, vector) for vector in load(values[3])]
            with cgutils.for_range_slice(builder, values[3], end, INDEX(1), INDEX) as (index, _):
                after = load(builder.add(index, INDEX(1)))
                store(index, after)
                for i, vector in enumerate(after):
                    builder.store(builder.load(here[i]), before[i])
                    builder.store(vector, here[i])
            store(end, [v.constant(0.0) for _ in offsets])

        _for_parts(builder, values[1], blur)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def transpose(
    typing_context: Any, target: Any, target_start: Any, target_step: Any, source: Any, source_start: Any, step: Any
) -> Any:
    """target[target_start + i * target_step + j] = source[source_start + j * step + i] for i and j < LANES."""
    intp = types.intp
    signature = types.void(target, intp, intp, source, intp, intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = _vectors(context, builder, signature.args[0])
        target, source = (v.pointer(signature.args[i], *values[i : i + 2]) for i in (0, 3))
        columns = v.transposed([v.load(source, builder.mul(values[5], INDEX(j))) for j in range(LANES)])
        for i, column in enumerate(columns):
            v.store(column, target, builder.mul(values[2], INDEX(i)))
        return context.get_dummy_value()

    return signature, codegen
