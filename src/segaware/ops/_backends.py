"""The one place that chooses which implementation of an operator runs, and knows why the others cannot."""

from __future__ import annotations

from types import TracebackType
from typing import Literal, TypeAlias, get_args

import torch

Backend: TypeAlias = Literal["reference", "numba"]

_chosen: Backend | None = None
_problems: dict[str, str | None] = {}


class use_backend:  # noqa: N801 - used like a function, as torch.set_grad_enabled
    """Choose the implementation of all operators, from now on or for the length of a `with` block.

    Args:
        backend: "reference", plain PyTorch that reads like the equations and can be differentiated any number of
            times; "numba", the compiled CPU kernels; or None, the fastest that can run on each call's device.
            The choice holds for the whole process; the `backend` argument of a single call goes before it.

    Raises:
        ValueError: If there is no such backend.
        RuntimeError: If the backend cannot run here; the message says why.

    Example:
        >>> with use_backend("reference"):
        ...     embedding_distance(torch.tensor([[[1.0, 2.0, 5.0]]]), kernel_size=(1, 2))
        tensor([[[1., 3.]],
        <BLANKLINE>
                [[0., 0.]]])
    """

    def __init__(self, backend: Backend | None) -> None:
        global _chosen
        if backend is not None:
            check_backend(backend)
        self._previous, _chosen = _chosen, backend

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        global _chosen
        _chosen = self._previous


def unavailable_backends() -> dict[str, str | None]:
    """Map every backend to None if it can run here, or to the reason why it cannot."""
    return {
        "reference": None,
        "numba": _numba_problem(),
        "triton": "this version of segaware has no Triton kernels",
    }


def backend_notes() -> dict[str, str]:
    """Say of every backend when it runs and how, or why it cannot."""
    notes = {
        backend: "available" if problem is None else f"not available: {problem}"
        for backend, problem in unavailable_backends().items()
    }
    notes["reference"] += ": plain PyTorch, on any device and to any order of derivative"
    if _numba_problem() is None:
        from segaware.ops import _parallel

        notes["numba"] += f": chosen for CPU tensors; {_parallel.description()}"
    return notes


def _numba_problem() -> str | None:
    # A dictionary and not functools.cache, which torch.compile would warn of.
    if "numba" not in _problems:
        _problems["numba"] = _import_numba()
    return _problems["numba"]


def _import_numba() -> str | None:
    try:
        import segaware.ops._parallel  # noqa: F401
    except Exception as error:  # Numba refuses some versions of NumPy with errors of several kinds
        return f"Numba cannot be imported ({error}); `pip install numba` usually helps"
    return None


def check_backend(backend: str, device: str = "cpu") -> None:
    """Raise unless `backend` exists (ValueError) and can run on the device (RuntimeError)."""
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be None or one of {get_args(Backend)}, got {backend!r}")
    problem = unavailable_backends()[backend]
    if backend == "numba" and device != "cpu":
        problem = f"it runs on CPU tensors, got one on {device}"
    if problem is not None:
        raise RuntimeError(f'backend "{backend}" cannot run: {problem}. backend="reference" runs everywhere')


def choose_backend(requested: Backend | None, device: torch.device) -> Backend:
    """Return the backend of one call: what it asks for, else what `use_backend` set, else the fastest for the device.

    Raises:
        ValueError: If there is no such backend.
        RuntimeError: If it was asked for and cannot run; it is never replaced in silence.
    """
    backend = requested if requested is not None else _chosen
    if backend is None:
        return "numba" if device.type == "cpu" and _numba_problem() is None else "reference"
    check_backend(backend, device.type)
    return backend
