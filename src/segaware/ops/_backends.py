"""Which implementations of the operators can run here, and why the others cannot."""

from __future__ import annotations


def unavailable_backends() -> dict[str, str | None]:
    """Map every backend to None if it can run here, or to the reason why it cannot."""
    return {
        "reference": None,
        "numba": "this version of segaware has no Numba kernels",
        "triton": "this version of segaware has no Triton kernels",
    }
