"""An exponential that LLVM vectorises."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from segaware.ops._parallel import jit


@jit
def exp(x: Any) -> Any:
    """The exponential of -87 <= x <= 0, float32.

    It is a power of two, times a Taylor series for what is left, at most ln(2) / 2.
    """
    k = np.rint(x * np.float32(1.44269504))
    # ln(2) in two parts, of which the first has so few digits that its product is exact.
    r = (x - k * np.float32(0.693359375)) + k * np.float32(2.12194440e-4)
    series = np.float32(1 / 5040)
    for factorial in (720, 120, 24, 6, 2, 1, 1):
        series = series * r + np.float32(1 / factorial)
    return series * _power_of_two(k)


@intrinsic
def _power_of_two(typing_context: Any, exponent: Any) -> Any:
    """2 to the power of a whole number from -126 to 127, float32."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        integer = ir.IntType(32)
        biased = builder.add(builder.fptosi(values[0], integer), integer(127))
        return builder.bitcast(builder.shl(biased, integer(23)), ir.FloatType())

    return types.float32(types.float32), codegen


def decay(x: float) -> float:
    """The exponential of x <= 0, in kernels: of float32 at least 1e-38, where LLVM vectorises it, or of float64."""
    raise NotImplementedError


@overload(decay, strict=False)  # of annotations
def _decay(x: Any) -> Any:
    least = np.float32(-87)
    if x == types.float32:
        return lambda x: exp(least if x < least else x)  # NaN stays
    return lambda x: np.exp(x)
