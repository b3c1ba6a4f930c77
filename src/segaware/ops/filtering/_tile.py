"""The inner loop of the filter and its gradients: a tile of sums held in registers."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from segaware.ops._tile import INDEX, VECTOR_BYTES, Vectors

# Rows and vectors per row of a tile: as many sums as the registers hold beside a row of weights.
ROWS, VECTORS = (8 if VECTOR_BYTES == 64 else 4), 3


@intrinsic
def add_products(
    typing_context: Any, memory: Any, sums: Any, sums_row: Any, weights: Any, weights_step: Any, seen: Any,
    places: Any, first_row: Any, first_step: Any, rows: Any, steps: Any, count: Any,
) -> Any:  # fmt: skip
    """Add to `rows` lines of sums, at most ROWS, what they see times the weights of `steps` lines.

    memory[sums + r * sums_row + x] += sum over s < steps of memory[weights + s * weights_step + x] *
    memory[seen + places[first_row + r] + places[first_step + s] + x], for x < count rounded up to whole vectors.
    """
    intp = types.intp
    signature = types.void(memory, *[intp] * 5, places, *[intp] * 5)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, builder, signature.args[0])
        sums, weights, seen = (v.pointer(signature.args[0], values[0], values[i]) for i in (1, 3, 5))
        sums_row, weights_step, steps, count = values[2], values[4], values[10], values[11]
        row_places, step_places = (v.pointer(signature.args[6], values[6], values[i]) for i in (7, 8))

        def place(pointer: Any, index: Any) -> Any:
            return builder.load(builder.gep(pointer, [index]))

        def add_tile(rows: int, vectors: int, x: Any) -> None:
            columns = [builder.add(x, INDEX(j * v.lanes)) for j in range(vectors)]
            lines = [builder.gep(sums, [builder.mul(sums_row, INDEX(r))]) for r in range(rows)]
            tile = {
                (r, j): cgutils.alloca_once_value(builder, v.load(lines[r], columns[j]))
                for r in range(rows)
                for j in range(vectors)
            }
            sources = [builder.gep(seen, [place(row_places, INDEX(r))]) for r in range(rows)]
            with cgutils.for_range(builder, steps) as loop:
                line = builder.gep(weights, [builder.mul(loop.index, weights_step)])
                line_weights = [v.load(line, column) for column in columns]
                shift = place(step_places, loop.index)
                for (r, j), total in tile.items():
                    value = v.load(sources[r], builder.add(shift, columns[j]))
                    builder.store(v.fma(value, line_weights[j], builder.load(total)), total)
            for (r, j), total in tile.items():
                v.store(builder.load(total), lines[r], columns[j])

        # One loop for each number of rows, so that images of few channels pay for no more.
        after = builder.append_basic_block()
        switch = builder.switch(values[9], after)
        for rows in range(1, ROWS + 1):
            case = builder.append_basic_block()
            switch.add_case(INDEX(rows), case)
            builder.position_at_end(case)
            start = INDEX(0)
            for vectors in (VECTORS, 1):  # whole tiles while there are as many columns, then single vectors
                step = INDEX(vectors * v.lanes)
                whole = count if vectors == 1 else builder.sub(count, builder.srem(count, step))
                with cgutils.for_range_slice(builder, start, whole, step, INDEX) as (x, _):
                    add_tile(rows, vectors, x)
                start = whole
            builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return signature, codegen
