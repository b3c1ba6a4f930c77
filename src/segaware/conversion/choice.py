"""Which convolutions of a network are converted, and why others are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import nn
from torch.nn.modules.conv import _ConvNd

from segaware.ops.arguments import as_integer

Layers: TypeAlias = str | Sequence[str] | int | tuple[int, int] | Callable[[str, nn.Conv2d], bool] | None

_SHOWN = 20
ONE_BY_ONE = "1x1 window"
NOT_CHOSEN = "not chosen"


def choose(model: nn.Module, layers: Layers) -> tuple[dict[str, nn.Conv2d], dict[str, str]]:
    """Return the convolutions to convert by name, and for all others why they are left alone.

    Raises:
        TypeError: If `layers` is of no kind that `convert` knows.
        ValueError: If it or one of its patterns chooses nothing, or names a layer that cannot be converted.
    """
    chooses = _predicate(layers)
    chosen: dict[str, nn.Conv2d] = {}
    left: dict[str, str] = {}
    names: dict[_ConvNd, list[str]] = {}  # a shared layer has several
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, _ConvNd):
            names.setdefault(module, []).append(name)
    for module, (name, *others) in names.items():
        if type(module) is not nn.Conv2d:
            left[name] = f"{type(module).__name__}, not a plain Conv2d"
        elif any(chooses(each, module) for each in (name, *others)):
            chosen[name] = module
        else:
            left[name] = ONE_BY_ONE if module.kernel_size == (1, 1) else NOT_CHOSEN
    _check_names(layers, left)
    unmatched = [
        pattern
        for pattern in _patterns(layers) or ()
        if not any(fnmatchcase(name, pattern) for conv in chosen.values() for name in names[conv])
    ]
    if not chosen or unmatched:
        known = [f"{name} ({_window(module)})" for module, (name, *_) in names.items() if type(module) is nn.Conv2d]
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        found = f"there are {', '.join(known[:_SHOWN])}{more}" if known else "there is no Conv2d in the model"
        choice = f"{unmatched[0]!r} in layers" if chosen else f"layers={layers!r}"
        raise ValueError(f"{choice} chooses no convolution: {found}")
    return chosen, left


def _predicate(layers: Layers) -> Callable[[str, nn.Conv2d], bool]:
    if layers is None:
        return lambda name, conv: conv.kernel_size != (1, 1)
    if callable(layers):
        return layers
    side = as_integer(layers)
    if side is not None:
        return lambda name, conv: conv.kernel_size == (side, side)
    if isinstance(layers, tuple) and len(layers) == 2 and None not in (sides := tuple(map(as_integer, layers))):
        return lambda name, conv: conv.kernel_size == sides
    patterns = _patterns(layers)
    if patterns is None:
        raise TypeError(
            "layers must be a pattern of names or several, a kernel size, a function of a layer's name and the layer, "
            f"or None, got {layers!r}"
        )
    return lambda name, conv: any(fnmatchcase(name, pattern) for pattern in patterns)


def _patterns(layers: Layers) -> Sequence[str] | None:
    if isinstance(layers, str):
        return [layers]
    if isinstance(layers, Sequence) and all(isinstance(pattern, str) for pattern in layers):
        return layers  # type: ignore[return-value]
    return None


def _check_names(layers: Layers, left: dict[str, str]) -> None:
    for name in _patterns(layers) or ():
        if left.get(name, NOT_CHOSEN) not in (ONE_BY_ONE, NOT_CHOSEN):
            raise ValueError(f"layers names {name}, which cannot be converted: it is a {left[name]}")


def _window(module: nn.Conv2d) -> str:
    return "x".join(map(str, module.kernel_size))
