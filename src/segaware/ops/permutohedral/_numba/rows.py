"""What LLVM does not vectorise by itself: sums of rows, blurring along a chain of rows, and transposing.

Rows are runs of channels, of a size that is a multiple of LANES, which are one vector. Arrays are flat and float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
_INDEX = ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)


class _Memory:
    """Writes the instructions that load from an array and store to it."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        self.builder, self.type = builder, array_type.dtype
        self.data = context.make_array(array_type)(context, builder, array).data

    def number(self, index: Any) -> Any:
        """Load an integer, as an index."""
        value = self.builder.load(self.builder.gep(self.data, [index]))
        return self.builder.sext(value, _INDEX) if self.type.signed else self.builder.zext(value, _INDEX)

    def everywhere(self, index: Any) -> Any:
        """Load an element into all lanes of a vector."""
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        value = self.builder.load(self.builder.gep(self.data, [index]))
        first_lane = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        return _shuffle(self.builder, first_lane, undefined, [0] * LANES)

    def vector(self, offset: Any) -> Any:
        """Load a vector."""
        return self.builder.load(self._address(offset), align=4)

    def store(self, vector: Any, offset: Any) -> None:
        """Store a vector."""
        self.builder.store(vector, self._address(offset), align=4)

    def _address(self, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(self.data, [offset]), _VECTOR.as_pointer())


def _shuffle(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(lanes)))


def _place(builder: Any, start: Any, step: Any, index: Any) -> Any:
    return builder.add(start, builder.mul(step, index))


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    function = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.fma.v{LANES}f32"), [a, b, c])


def _for_parts(builder: Any, size: Any, body: Callable[[list[Any]], None]) -> None:
    """Call `body` with the offsets of three vectors of a row, as long as there are as many, then of two, or one."""
    start = _INDEX(0)
    for count in (3, 2, 1):
        step = _INDEX(count * LANES)
        end = builder.sub(size, builder.srem(builder.sub(size, start), step))
        with cgutils.for_range_slice(builder, start, end, step, _INDEX) as (offset, _):
            body([builder.add(offset, _INDEX(i * LANES)) for i in range(count)])
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
        target, source, rows, numbers, weights = (
            _Memory(context, builder, signature.args[i], values[i]) for i in (0, 2, 4, 6, 7)
        )

        def gather(offsets: list[Any]) -> None:
            sums = [cgutils.alloca_once_value(builder, _ZERO) for _ in offsets]
            with cgutils.for_range(builder, values[9]) as loop:
                index = builder.add(values[8], loop.index)
                row = rows.number(builder.add(values[5], numbers.number(index)))
                weight = weights.everywhere(index)
                for sum, offset in zip(sums, offsets, strict=True):
                    vector = source.vector(_place(builder, offset, row, values[3]))
                    builder.store(_fma(builder, vector, weight, builder.load(sum)), sum)
            for sum, offset in zip(sums, offsets, strict=True):
                target.store(builder.load(sum), builder.add(values[1], offset))

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
        target, numbers, weights, source = (
            _Memory(context, builder, signature.args[i], values[i]) for i in (0, 3, 4, 7)
        )

        def scatter(offsets: list[Any]) -> None:
            vectors = [source.vector(builder.add(values[8], offset)) for offset in offsets]
            with cgutils.for_range(builder, values[6]) as loop:
                index = builder.add(values[5], loop.index)
                row = builder.add(values[2], numbers.number(index))
                weight = weights.everywhere(index)
                for vector, offset in zip(vectors, offsets, strict=True):
                    place = _place(builder, offset, row, values[1])
                    target.store(_fma(builder, vector, weight, target.vector(place)), place)

        _for_parts(builder, values[1], scatter)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def blur_chain(typing_context: Any, data: Any, size: Any, rows: Any, first: Any, last: Any) -> Any:
    """Add to row rows[i], for first <= i < last, half of what rows[i - 1] and rows[i + 1] were before."""
    intp = types.intp
    signature = types.void(data, intp, rows, intp, intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data, rows = (_Memory(context, builder, signature.args[i], values[i]) for i in (0, 2))
        end = builder.sub(values[4], _INDEX(1))

        def blur(offsets: list[Any]) -> None:
            def load(index: Any) -> list[Any]:
                row = builder.mul(rows.number(index), values[1])
                return [data.vector(builder.add(row, offset)) for offset in offsets]

            def store(index: Any, after: list[Any]) -> None:
                row = builder.mul(rows.number(index), values[1])
                for i, offset in enumerate(offsets):
                    neighbours = builder.fadd(builder.load(before[i]), after[i])
                    half = builder.fmul(neighbours, ir.Constant(_VECTOR, [0.5] * LANES))
                    data.store(builder.fadd(builder.load(here[i]), half), builder.add(row, offset))

            before = [cgutils.alloca_once_value(builder, _ZERO) for _ in offsets]
            here = [cgutils.alloca_once_value(builder, vector) for vector in load(values[3])]
            with cgutils.for_range_slice(builder, values[3], end, _INDEX(1), _INDEX) as (index, _):
                after = load(builder.add(index, _INDEX(1)))
                store(index, after)
                for i, vector in enumerate(after):
                    builder.store(builder.load(here[i]), before[i])
                    builder.store(vector, here[i])
            store(end, [_ZERO for _ in offsets])

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
        target, source = (_Memory(context, builder, signature.args[i], values[i]) for i in (0, 3))
        vectors = [source.vector(_place(builder, values[4], values[5], _INDEX(j))) for j in range(LANES)]
        width = 1
        while width < LANES:
            # Exchange the off-diagonal blocks of every 2 x 2 blocks of this width.
            low = [j if not j & width else j - width + LANES for j in range(LANES)]
            high = [j + width if not j & width else j + LANES for j in range(LANES)]
            for i in range(LANES):
                if not i & width:
                    a, b = vectors[i], vectors[i + width]
                    vectors[i], vectors[i + width] = (_shuffle(builder, a, b, order) for order in (low, high))
            width *= 2
        for i, vector in enumerate(vectors):
            target.store(vector, _place(builder, values[1], values[2], _INDEX(i)))
        return context.get_dummy_value()

    return signature, codegen
