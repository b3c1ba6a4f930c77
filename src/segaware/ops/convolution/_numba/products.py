"""Sums of products of three factors over a list of terms, and their gradients: vectors of channels in registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from segaware.ops._tile import INDEX, Vectors


def _for_each_block(v: Vectors, count: Any, vectors: int, step: Callable[[Vectors, list[Any]], None]) -> None:
    """Cut `count` elements into blocks of so many vectors, then of half as many, and so on to single elements.

    `step(block, offsets)` works on the vectors of a block, which are narrower where a block is less than a vector.
    """
    start, elements = INDEX(0), vectors * v.lanes
    while elements:
        block = Vectors(v.context, v.builder, v.array, min(v.lanes, elements))
        end = v.builder.sub(count, v.builder.srem(count, INDEX(elements)))
        with cgutils.for_range_slice(v.builder, start, end, INDEX(elements), INDEX) as (i, _):
            step(block, [v.builder.add(i, INDEX(offset)) for offset in range(0, elements, block.lanes)])
        start, elements = end, elements // 2


def _for_each_term(v: Vectors, places: Any, terms: Any, arrays: list[Any], step: Callable[..., None]) -> None:
    """Call `step(*addresses)` in a loop over all terms: each of `arrays`, a (pointer, kind), where the term begins."""
    with cgutils.for_range(v.builder, terms) as loop:
        first = v.builder.mul(loop.index, INDEX(3))
        starts = [v.builder.load(v.builder.gep(places, [v.builder.add(first, INDEX(kind))])) for kind in range(3)]
        step(*(v.builder.gep(pointer, [starts[kind]]) for pointer, kind in arrays))


@intrinsic
def sum_products(
    typing_context: Any, target: Any, target_start: Any, initial: Any, a: Any, a_start: Any, b: Any, b_start: Any,
    factors: Any, factors_start: Any, places: Any, terms: Any, count: Any,
) -> Any:  # fmt: skip
    """target[target_start + i] = initial[i] + sum over t < terms of f_t * a_t[i] * b_t[i], for i < count.

    a_t begins at a[a_start + places[3 * t]], b_t at b[b_start + places[3 * t + 1]], and the factor f_t is
    factors[factors_start + places[3 * t + 2]].
    """
    intp = types.intp
    signature = types.void(target, intp, initial, a, intp, b, intp, factors, intp, places, intp, intp)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, builder, signature.args[0])
        starts = {0: values[1], 2: INDEX(0), 3: values[4], 5: values[6], 7: values[8], 9: INDEX(0)}
        target, initial, a, b, factors, places = (
            v.pointer(signature.args[i], values[i], start) for i, start in starts.items()
        )

        def sum_block(block: Vectors, offsets: list[Any]) -> None:
            sums = [cgutils.alloca_once_value(builder, block.load(initial, offset)) for offset in offsets]

            def add(a_t: Any, b_t: Any, factor_t: Any) -> None:
                factor = block.broadcast(builder.load(factor_t))
                for offset, total in zip(offsets, sums, strict=True):
                    product = builder.fmul(block.load(a_t, offset), factor)
                    builder.store(block.fma(product, block.load(b_t, offset), builder.load(total)), total)

            _for_each_term(v, places, values[10], [(a, 0), (b, 1), (factors, 2)], add)
            for offset, total in zip(offsets, sums, strict=True):
                block.store(builder.load(total), target, offset)

        _for_each_block(v, values[11], 4, sum_block)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def product_gradients(
    typing_context: Any, gradient: Any, gradient_start: Any, a: Any, a_gradient: Any, a_start: Any, b: Any,
    b_gradient: Any, b_start: Any, factors: Any, factors_gradient: Any, factors_start: Any, places: Any, terms: Any,
    count: Any,
) -> Any:  # fmt: skip
    """Differentiate `sum_products`: with its a_t, b_t and f_t, and g[i] = gradient[gradient_start + i], for i < count.

    The gradients f_t * b_t[i] * g[i] of a_t and f_t * a_t[i] * g[i] of b_t are added to a_gradient and b_gradient;
    that of f_t, the sum of a_t[i] * b_t[i] * g[i], is written to factors_gradient.
    """
    intp = types.intp
    signature = types.void(
        gradient, intp, a, a_gradient, intp, b, b_gradient, intp, factors, factors_gradient, intp, places, intp, intp
    )

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, builder, signature.args[0])
        starts = {0: 1, 2: 4, 3: 4, 5: 7, 6: 7, 8: 10, 9: 10}
        gradient, *arrays = (v.pointer(signature.args[i], values[i], values[start]) for i, start in starts.items())
        places = v.pointer(signature.args[11], values[11], INDEX(0))

        def add_term(a: Any, a_gradient: Any, b: Any, b_gradient: Any, factor_t: Any, factor_gradient: Any) -> None:
            sums = cgutils.alloca_once_value(builder, v.constant(0.0))
            rest = cgutils.alloca_once_value(builder, v.scalar(0.0))

            def add(block: Vectors, offsets: list[Any]) -> None:
                factor = block.broadcast(builder.load(factor_t))
                for i in offsets:
                    g, a_i, b_i = block.load(gradient, i), block.load(a, i), block.load(b, i)
                    b_g, f_g = builder.fmul(b_i, g), builder.fmul(factor, g)
                    block.store(block.fma(b_g, factor, block.load(a_gradient, i)), a_gradient, i)
                    block.store(block.fma(a_i, f_g, block.load(b_gradient, i)), b_gradient, i)
                    if block.lanes == v.lanes:
                        builder.store(v.fma(a_i, b_g, builder.load(sums)), sums)
                    else:
                        product = block.sum(builder.fmul(a_i, b_g))
                        builder.store(builder.fadd(builder.load(rest), product), rest)

            _for_each_block(v, values[13], 1, add)
            builder.store(builder.fadd(v.sum(builder.load(sums)), builder.load(rest)), factor_gradient)

        _for_each_term(v, places, values[12], [(array, i // 2) for i, array in enumerate(arrays)], add_term)
        return context.get_dummy_value()

    return signature, codegen
