"""Registration of the kernels as operators of torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._ops import OpOverload

# What the operators run. torch's registry knows nothing of modules, and these are imported again in notebooks and tests
# that start anew: then an operator stays what it is, and takes the new functions. So they wait where the operators do.
_LIBRARY: torch.library.Library = vars(torch.ops.segaware).setdefault(
    "library", torch.library.Library("segaware", "FRAGMENT")
)
_FUNCTIONS: dict[str, Callable[..., Any]] = vars(torch.ops.segaware).setdefault("functions", {})


def _take(name: str, function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Let `function` stand for a name; return what calls it, to be registered, if that has not happened before."""
    known = name in _FUNCTIONS
    _FUNCTIONS[name] = function
    return None if known else lambda *args, **kwargs: _FUNCTIONS[name](*args, **kwargs)


def operator(
    mutates: Sequence[str] = (), devices: Sequence[str] = ("CPU", "CUDA")
) -> Callable[[Callable[..., Any]], OpOverload]:
    """Register the decorated function as the operator `segaware::...` of its name; its annotations are the schema.

    The name then stands for the operator. `torch.library.custom_op` would do the same, but its first call imports
    torch's whole compiler: a second, and 60 MB.

    Args:
        mutates: Names of the arguments that the function writes to.
        devices: Where it runs.
    """

    def register(function: Callable[..., Any]) -> OpOverload:
        name = function.__name__
        run = _take(name, function)
        if run is not None:
            _LIBRARY.define(torch.library.infer_schema(function, mutates_args=mutates, op_name=name))
            for device in devices:
                _LIBRARY.impl(name, run, device)
        overload: OpOverload = getattr(torch.ops.segaware, name).default
        return overload

    return register


def fake(operator: OpOverload) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as what an operator does to tensors without values.

    It takes the arguments of the operator that it needs, by name.
    """
    names = [argument.name for argument in operator._schema.arguments]

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        needed = inspect.signature(function).parameters

        def call(*args: Any, **kwargs: Any) -> Any:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            return function(**{name: given[name] for name in needed})

        run = _take(f"{operator.name()}/fake", call)
        if run is not None:
            torch.library.register_fake(operator, run, lib=_LIBRARY)
        return function

    return register


def register_gradient(operator: OpOverload, differentiate: Callable[..., Any], save: Callable[..., None]) -> None:
    """Register the gradient of an operator, which its twin `NAME_backward` computes and which has none of its own.

    Args:
        operator: The operator.
        differentiate: As `backward` of a `torch.autograd.Function`.
        save: As its `setup_context`. It saves outputs detached: the output itself would hold its own graph where
            saved-tensor hooks keep what they are given, in a cycle that Python's collector cannot see.
    """

    def refuse(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(
            "segaware's kernels are differentiable once: for a gradient of a gradient, choose the backend 'reference'"
        )

    name = operator.name()
    run, keep = _take(f"{name}/differentiate", differentiate), _take(f"{name}/save", save)
    if run is not None:
        torch.library.register_autograd(name, run, setup_context=keep, lib=_LIBRARY)
        # Or torch would leave that gradient out.
        torch.library.register_autograd(f"{name}_backward", refuse, lib=_LIBRARY)
