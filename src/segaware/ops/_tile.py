"""What LLVM's vectoriser does not find by itself: a matrix tile held in registers, and loops over whole vectors.

Each function works on flat arrays of one floating-point type and takes offsets in elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_features = llvmlite.binding.get_host_cpu_features()
# Rows and vectors per row of a tile: as many sums as the registers hold beside one row of B and one value of A.
if _features.get("avx512f"):
    VECTOR_BYTES, ROWS, VECTORS = 64, 14, 2
elif _features.get("avx"):
    VECTOR_BYTES, ROWS, VECTORS = 32, 6, 2
else:
    VECTOR_BYTES, ROWS, VECTORS = 16, 6, 2

INDEX = ir.IntType(64)


def vector_lanes(itemsize: int) -> int:
    """Return the number of elements of a vector."""
    return VECTOR_BYTES // itemsize


def panel_width(itemsize: int) -> int:
    """Return the number of columns of a tile."""
    return VECTORS * vector_lanes(itemsize)


class Vectors:
    """Writes the instructions of one intrinsic: the vector type of its arrays, and addresses into them.

    Vectors are the processor's, or of so many `lanes`.
    """

    def __init__(self, context: Any, builder: Any, array: Any, lanes: int | None = None) -> None:
        self.context, self.builder, self.array = context, builder, array
        bits = array.dtype.bitwidth
        self.bytes, self.lanes = bits // 8, lanes or vector_lanes(bits // 8)
        self.scalar = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.suffix = f"f{bits}"

    def pointer(self, array_type: Any, array: Any, offset: Any) -> Any:
        """Return the address of an element of a Numba array."""
        return self.builder.gep(self.context.make_array(array_type)(self.context, self.builder, array).data, [offset])

    def load(self, pointer: Any, offset: Any) -> Any:
        """Load a vector."""
        return self.builder.load(self._vector_pointer(pointer, offset), align=self.bytes)

    def store(self, value: Any, pointer: Any, offset: Any) -> None:
        """Store a vector."""
        self.builder.store(value, self._vector_pointer(pointer, offset), align=self.bytes)

    def prefetch(self, pointer: Any, offset: Any) -> None:
        """Ask for the cache lines of a row of a panel."""
        number = ir.IntType(32)
        function = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        prefetch = cgutils.get_or_insert_function(self.builder.module, function, "llvm.prefetch.p0")
        for line in range(0, VECTORS * self.lanes, self.lanes):
            place = self.builder.gep(pointer, [self.builder.add(offset, INDEX(line))])
            address = self.builder.bitcast(place, cgutils.voidptr_t)
            self.builder.call(prefetch, [address, number(0), number(3), number(1)])  # to read, into all caches, data

    def _vector_pointer(self, pointer: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), self.vector.as_pointer())

    def broadcast(self, value: Any) -> Any:
        """Return a vector of one value."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        one_lane = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        return self._shuffle(one_lane, undefined, [0] * self.lanes)

    def constant(self, value: float) -> Any:
        """Return a vector of one number."""
        return ir.Constant(self.vector, [value] * self.lanes)

    def _shuffle(self, a: Any, b: Any, lanes: Sequence[int]) -> Any:
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c, of vectors or of scalars."""
        name = f"v{self.lanes}{self.suffix}" if a.type == self.vector else self.suffix
        function = ir.FunctionType(a.type, [a.type] * 3)
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, function, f"llvm.fma.{name}"), [a, b, c]
        )

    def sum(self, vector: Any) -> Any:
        """Return the sum of a vector's lanes, added in halves."""
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (self._shuffle(vector, vector, range(start, start + lanes)) for start in (0, lanes))
            vector = self.builder.fadd(low, high)
        return self.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def transposed(self, rows: Sequence[Any]) -> list[Any]:
        """Return the columns of a square block of as many rows as a vector has lanes."""
        vectors, width = list(rows), 1
        while width < self.lanes:
            # Exchange the off-diagonal blocks of every 2 x 2 blocks of this width.
            low = [j if not j & width else j - width + self.lanes for j in range(self.lanes)]
            high = [j + width if not j & width else j + self.lanes for j in range(self.lanes)]
            for i in range(self.lanes):
                if not i & width:
                    a, b = vectors[i], vectors[i + width]
                    vectors[i], vectors[i + width] = self._shuffle(a, b, low), self._shuffle(a, b, high)
            width *= 2
        return vectors

    def for_each(self, count: Any, whole: Callable[[Any], None], single: Callable[[Any], None]) -> None:
        """Call `whole(offset)` for as many whole vectors as `count` elements hold, `single(offset)` for the rest."""
        start = INDEX(0)
        for vectors in (4, 1, 0):  # four at a time while there are as many, then one, then single elements
            step = INDEX(vectors * self.lanes or 1)
            end = self.builder.sub(count, self.builder.srem(count, step))
            with cgutils.for_range_slice(self.builder, start, end, step, INDEX) as (offset, _):
                for vector in range(vectors):
                    whole(self.builder.add(offset, INDEX(vector * self.lanes)))
                if not vectors:
                    single(offset)
            start = end


@intrinsic
def scaled_copy(
    typing_context: Any, target: Any, target_start: Any, source: Any, source_start: Any, factor: Any, count: Any
) -> Any:
    """target[target_start + i] = factor * source[source_start + i] for i < count."""
    signature = types.void(target, types.intp, source, types.intp, target.dtype, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, builder, signature.args[0])
        target = v.pointer(signature.args[0], *values[0:2])
        source = v.pointer(signature.args[2], *values[2:4])
        factor = v.broadcast(values[4])

        def single(i: Any) -> None:
            product = builder.fmul(builder.load(builder.gep(source, [i])), values[4])
            builder.store(product, builder.gep(target, [i]))

        v.for_each(values[5], lambda i: v.store(builder.fmul(v.load(source, i), factor), target, i), single)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def scaled_rows(
    typing_context: Any,
    target: Any,
    target_start: Any,
    target_step: Any,
    source: Any,
    source_start: Any,
    source_step: Any,
    a: Any,
    a_start: Any,
    b: Any,
    b_start: Any,
    rows: Any,
    count: Any,
) -> Any:
    """Copy rows that are `*_step` apart, `count` elements of each, row r times a[a_start + r] * b[b_start + r]."""
    intp = types.intp
    signature = types.void(target, intp, intp, source, intp, intp, a, intp, b, intp, intp, intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, builder, signature.args[0])
        target, source, a, b = (v.pointer(signature.args[i], *values[i : i + 2]) for i in (0, 3, 6, 8))
        with cgutils.for_range(builder, values[10]) as row:
            factor = builder.fmul(*(builder.load(builder.gep(pointer, [row.index])) for pointer in (a, b)))
            factors = v.broadcast(factor)
            to, at = (builder.gep(p, [builder.mul(row.index, values[i])]) for p, i in ((target, 2), (source, 5)))

            def whole(i: Any) -> None:
                v.store(builder.fmul(v.load(at, i), factors), to, i)

            def single(i: Any) -> None:
                builder.store(builder.fmul(builder.load(builder.gep(at, [i])), factor), builder.gep(to, [i]))

            v.for_each(values[11], whole, single)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add(
    typing_context: Any, target: Any, target_start: Any, a: Any, a_start: Any, b: Any, b_start: Any, count: Any
) -> Any:
    """target[target_start + i] = a[a_start + i] + b[b_start + i] for i < count; `target` may be `a` or `b`."""
    intp = types.intp
    signature = types.void(target, intp, a, intp, b, intp, intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, builder, signature.args[0])
        target, a, b = (v.pointer(signature.args[i], *values[i : i + 2]) for i in (0, 2, 4))

        def single(i: Any) -> None:
            total = builder.fadd(builder.load(builder.gep(a, [i])), builder.load(builder.gep(b, [i])))
            builder.store(total, builder.gep(target, [i]))

        v.for_each(values[6], lambda i: v.store(builder.fadd(v.load(a, i), v.load(b, i)), target, i), single)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def scatter_and_dot(
    typing_context: Any,
    a: Any,
    a_start: Any,
    b: Any,
    b_start: Any,
    target: Any,
    target_start: Any,
    factor: Any,
    count: Any,
) -> Any:
    """target[target_start + i] += factor * a[a_start + i], and return the sum of a[a_start + i] * b[b_start + i]."""
    intp = types.intp
    signature = a.dtype(a, intp, b, intp, target, intp, a.dtype, intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, builder, signature.args[0])
        a, b, target = (v.pointer(signature.args[i], *values[i : i + 2]) for i in (0, 2, 4))
        factors = v.broadcast(values[6])
        sums = cgutils.alloca_once_value(builder, v.constant(0.0))
        rest = cgutils.alloca_once_value(builder, ir.Constant(v.scalar, 0.0))

        def whole(i: Any) -> None:
            a_i = v.load(a, i)
            v.store(v.fma(a_i, factors, v.load(target, i)), target, i)
            builder.store(v.fma(a_i, v.load(b, i), builder.load(sums)), sums)

        def single(i: Any) -> None:
            a_i, place = builder.load(builder.gep(a, [i])), builder.gep(target, [i])
            builder.store(v.fma(a_i, values[6], builder.load(place)), place)
            builder.store(v.fma(a_i, builder.load(builder.gep(b, [i])), builder.load(rest)), rest)

        v.for_each(values[7], whole, single)
        return builder.fadd(v.sum(builder.load(sums)), builder.load(rest))

    return signature, codegen


@intrinsic
def transpose(
    typing_context: Any,
    target: Any,
    target_start: Any,
    target_rows: Any,
    source: Any,
    source_start: Any,
    source_rows: Any,
) -> Any:
    """target[target_start + target_rows[i] + j] = source[source_start + source_rows[j] + i], i and j < one vector."""
    intp = types.intp
    signature = types.void(target, intp, target_rows, source, intp, source_rows)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, builder, signature.args[0])
        target, source = (v.pointer(signature.args[i], *values[i : i + 2]) for i in (0, 3))

        def row(argument: int, index: int) -> Any:
            place = INDEX(index)
            return builder.load(v.pointer(signature.args[argument], values[argument], place))

        columns = v.transposed([v.load(source, row(5, j)) for j in range(v.lanes)])
        for i, column in enumerate(columns):
            v.store(column, target, row(2, i))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def multiply_tile(
    typing_context: Any,
    a: Any,
    a_start: Any,
    a_row: Any,
    a_step: Any,
    b: Any,
    b_start: Any,
    b_step: Any,
    steps: Any,
    tile: Any,
    tile_start: Any,
    tile_row: Any,
) -> Any:
    """Multiply two matrices into a tile of ROWS rows and panel_width columns, all of it: pad what is smaller.

    tile[tile_start + r * tile_row + j] = sum over s < steps of a[a_start + r * a_row + s * a_step] * b[b_start +
    s * b_step + j].
    """
    intp = types.intp
    signature = types.void(a, intp, intp, intp, b, intp, intp, intp, tile, intp, intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, builder, signature.args[0])
        a_row, a_step, b_step, steps = values[2], values[3], values[6], values[7]
        a = v.pointer(signature.args[0], *values[0:2])
        b = v.pointer(signature.args[4], *values[4:6])
        tile = v.pointer(signature.args[8], *values[8:10])

        rows = [builder.gep(a, [builder.mul(a_row, INDEX(r))]) for r in range(ROWS)]
        places = [(r, j) for r in range(ROWS) for j in range(VECTORS)]
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)

        builder.position_at_end(loop)
        step = builder.phi(INDEX)
        sums = {place: builder.phi(v.vector) for place in places}
        b_start = builder.mul(step, b_step)
        # The next rows of b may still be in a slower cache, as panels of weights are.
        v.prefetch(b, builder.add(b_start, builder.mul(b_step, INDEX(16))))
        b_vectors = [v.load(b, builder.add(b_start, INDEX(j * v.lanes))) for j in range(VECTORS)]
        a_offset = builder.mul(step, a_step)
        new_sums = {}
        for r in range(ROWS):
            value = v.broadcast(builder.load(builder.gep(rows[r], [a_offset])))
            for j in range(VECTORS):
                new_sums[r, j] = v.fma(value, b_vectors[j], sums[r, j])
        next_step = builder.add(step, INDEX(1))
        step.add_incoming(INDEX(0), before)
        step.add_incoming(next_step, loop)
        for place in places:
            sums[place].add_incoming(v.constant(0.0), before)
            sums[place].add_incoming(new_sums[place], loop)
        builder.cbranch(builder.icmp_signed("<", next_step, steps), loop, after)

        builder.position_at_end(after)
        for r, j in places:
            place = builder.add(builder.mul(values[10], INDEX(r)), INDEX(j * v.lanes))
            v.store(new_sums[r, j], tile, place)
        return context.get_dummy_value()

    return signature, codegen
