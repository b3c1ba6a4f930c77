"""The one place that chooses which implementation of an operator runs, and knows why the others cannot."""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Mapping
from types import ModuleType, TracebackType
from typing import Literal, TypeAlias, cast, get_args

import torch

from segaware.ops import _choice
from segaware.ops._choice import Backend as Backend

Kernels: TypeAlias = Literal["numba", "triton"]

_LOGGER = logging.getLogger(__name__)

_problems: dict[str, str | None] = {}


class use_backend:  # noqa: N801 - used like a function, as torch.set_grad_enabled
    """Choose the implementation of all operators, from now on or for the length of a `with` block.

    Args:
        backend: "reference", plain PyTorch that reads like the equations and can be differentiated any number of
            times; "numba", the compiled CPU kernels; "triton", the compiled GPU kernels; or None, the fastest that can
            run on each call's device.
            The `backend` argument of a single call goes before it.

    The choice belongs to the thread or asynchronous task that makes it, as that of `torch.set_grad_enabled` does: a
    task begins with that of its maker, a new thread with none, so there the fastest runs until it makes its own. Code
    from `torch.compile` obeys the choice of its caller. Operators without kernels are the same whatever is chosen.

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
        if backend is not None:
            check_backend(backend)
        self._previous = _choice.backend
        _choice.backend = backend

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _choice.backend = self._previous


def unavailable_backends() -> dict[str, str | None]:
    """Map every backend to None if it can run here, or to the reason why it cannot."""
    return {"reference": None, "numba": _problem("numba"), "triton": _problem("triton")}


def backend_notes() -> dict[str, str]:
    """Say of every backend when it runs and how, or why it cannot."""
    notes = {
        backend: "available" if problem is None else f"not available: {problem}"
        for backend, problem in unavailable_backends().items()
    }
    notes["reference"] += ": plain PyTorch, on any device and to any order of derivative"
    if _problem("numba") is None:
        from segaware.ops import _parallel

        notes["numba"] += f": chosen for CPU tensors; {_parallel.description()}"
    if _problem("triton") is None:
        how = "interpreted, on CPU tensors, where it is asked for" if _interpreted() else "chosen for CUDA tensors"
        notes["triton"] += (
            f": {how}; compiled at the first call; weighted medians run as the reference, and dense CRFs on the CPU"
        )
    return notes


def _problem(backend: Kernels) -> str | None:
    # A dictionary and not functools.cache, which torch.compile would warn of.
    if backend not in _problems:
        _problems[backend] = _import_numba() if backend == "numba" else _find_triton()
    return _problems[backend]


def _import_numba() -> str | None:
    try:
        import segaware.ops._parallel  # noqa: F401
    except Exception as error:  # Numba refuses some versions of NumPy with errors of several kinds
        return f"Numba cannot be imported ({error}); `pip install numba` usually helps"
    return None


def _find_triton() -> str | None:
    try:
        import triton
    except Exception as error:
        return f"Triton cannot be imported ({error}); it comes with PyTorch for CUDA, or `pip install segaware[triton]`"
    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 4):
        return f"it needs Triton 3.4 or newer, got {triton.__version__}"
    if _interpreted():
        return None
    if torch.version.hip is not None:  # whose devices are called cuda, too
        return f"it needs an NVIDIA GPU, and this PyTorch, {torch.__version__}, is for those of AMD (ROCm)"
    if not torch.cuda.is_available():
        missing = "has no CUDA" if torch.version.cuda is None else "finds no CUDA GPU"
        return f"it needs an NVIDIA GPU, and this PyTorch, {torch.__version__}, {missing}"
    capability = torch.cuda.get_device_capability()
    if capability < (8, 0):
        return f"it needs a GPU of compute capability 8.0 or more, got {'.'.join(map(str, capability))}"
    return None


def _interpreted() -> bool:
    """Say whether Triton's interpreter runs kernels, on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def check_backend(backend: str, device: str | None = None, missing: Mapping[str, str] | None = None) -> None:
    """Raise unless `backend` exists (ValueError), is not `missing` and can run on the device (RuntimeError)."""
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be None or one of {get_args(Backend)}, got {backend!r}")
    problem = (missing or {}).get(cast(Backend, backend)) or unavailable_backends()[backend]
    devices = {"numba": ["cpu"], "triton": ["cpu"] if _interpreted() else ["cuda"]}
    if problem is None and device is not None and device not in devices.get(backend, [device]):
        kind = {"cpu": "CPU", "cuda": "CUDA"}[devices[backend][0]]
        problem = f"it runs on {kind} tensors, got one on {device}"
    if problem is not None:
        raise RuntimeError(f'backend "{backend}" cannot run: {problem}. backend="reference" runs everywhere')


def choose_backend(
    requested: Backend | None,
    device: torch.device,
    missing: Mapping[str, str] | None = None,
    automatic: Kernels | None = None,
) -> Backend:
    """Return the backend of one call: what it asks for, else what `use_backend` set, else the fastest for the device.

    Args:
        requested: What the call asks for.
        device: Of its tensors.
        missing: Backends that have no kernels for the call, and the reason.
        automatic: What is taken if nothing is asked for, and never replaced, in place of the fastest.

    Raises:
        ValueError: If there is no such backend.
        RuntimeError: If it was asked for and cannot run; it is never replaced in silence.
    """
    backend = requested or _choice.backend
    if backend is not None:
        check_backend(backend, device.type, missing)
        return backend
    fastest: dict[str, Kernels] = {"cpu": "numba", "cuda": "triton"}
    kernels = automatic or fastest.get(device.type)
    problem = "no kernels run there" if kernels is None else (missing or {}).get(kernels) or _problem(kernels)
    if automatic is not None:
        check_backend(automatic, device.type, missing)
    if not torch.compiler.is_compiling():
        _log_choice(device.type, kernels, problem)
    return "reference" if kernels is None or problem is not None else kernels


@functools.cache
def _log_choice(device: str, kernels: Kernels | None, problem: str | None) -> None:
    """Tell the log what runs on a device and why, once for every reason."""
    if problem is None:
        _LOGGER.info('%s tensors: backend "%s"', device, kernels)
    else:
        why = problem if kernels is None else f'"{kernels}" cannot run: {problem}'
        _LOGGER.info('%s tensors: backend "reference", because %s', device, why)


def kernels(operator: str, backend: str) -> ModuleType:
    """Return the kernels of one of the operators' folders."""
    return importlib.import_module(f"segaware.ops.{operator}._{backend}")
