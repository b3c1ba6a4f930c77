"""What groups of measurements are made of: settings, contenders and measurements."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from benchmarks.harness.measure import Contenders, Goal, interleave, summarize
from segaware.ops._backends import Backend

Contender: TypeAlias = Callable[[], Any] | str

CPU_BACKENDS: tuple[Backend, ...] = ("reference", "numba")
PACKAGES = ("numpy", "numba", "kornia", "opencv-python-headless", "pydensecrf2")
PEERS = Path(__file__).parents[1] / "peers"


@dataclass(frozen=True)
class Settings:
    """What holds for all measurements.

    Attributes:
        peers: Folder of the peers: one file per library or formulation. A peer has some of the functions
            `convolution(input, weight, mask, dilation)`, `distance(embedding, kernel_size, dilation)` and
            `bilateral_filter(input, embedding, kernel_size, hardness)`, all with padding "same".
        full: Whether to measure the long form.
        seed: Of inputs and of the order of contenders.
        threads: Torch's threads.
        data_root: Folder of data sets, for groups that need some.
    """

    peers: Path = PEERS
    full: bool = False
    seed: int = 0
    threads: int = 2
    data_root: Path | None = None

    @property
    def seconds(self) -> float:
        """Time for the calls of one contender of a case."""
        return 2.0 if self.full else 0.5

    def peer(self, name: str, function: str) -> Callable[..., Any] | str:
        """Return a function of a peer, or why there is none."""
        path = self.peers / f"{name}.py"
        if not path.is_file():
            return f"{path}: no such file"
        spec = importlib.util.spec_from_file_location(f"segaware_peer_{name}", path)
        assert spec is not None and spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except ModuleNotFoundError as error:
            return f"{error.name}: not installed"
        except ImportError as error:
            return f"cannot be imported: {error}"
        return getattr(module, function)


@dataclass(frozen=True)
class Measurement:
    """One step of a group, and what to call it while it runs; `run` returns the values of its cases."""

    title: str
    run: Callable[[], list[dict[str, Any]]]


@dataclass(frozen=True)
class Group:
    """Measurements that share a results file.

    Attributes:
        title: Of the section of the page that is made of the file.
        about: What is measured, for the reader of that page.
        plan: Returns the measurements.
        runs: Whether they are made if no group is named: always, in the long form, or not.
        on_gpu: Whether they need a GPU.
        needs: Distributions that they cannot do without.
        packages: Further distributions whose versions are of interest.
        rows: What the list of what the measurements return is called in the file.
        facts: What else stands there.
    """

    title: str
    about: str
    plan: Callable[[Settings], list[Measurement]]
    runs: Literal["always", "full", "named"] = "always"
    on_gpu: bool = False
    needs: tuple[str, ...] = ()
    packages: tuple[str, ...] = PACKAGES
    rows: str = "cases"
    facts: Mapping[str, Any] = field(default_factory=dict)


def forward(function: Callable[..., Tensor] | str, *arguments: Any) -> Contender:
    """Call a function without gradients."""
    if isinstance(function, str):
        return function

    def run() -> Tensor:
        with torch.no_grad():
            return function(*arguments)

    return run


def forward_backward(function: Callable[..., Tensor] | str, *arguments: Any) -> Contender:
    """Call a function, and compute the gradients of all arguments that want one."""
    if isinstance(function, str):
        return function
    inputs = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
    gradient: Tensor | None = None

    def run() -> tuple[Tensor, ...]:
        nonlocal gradient
        output = function(*arguments)
        if gradient is None:
            gradient = torch.ones_like(output)
        return torch.autograd.grad(output, inputs, gradient, allow_unused=True)  # plain convolution leaves the mask out

    return run


def time_in_turn(
    settings: Settings,
    title: str,
    contenders: Contenders,
    baseline: Sequence[str],
    goals: Sequence[Goal] = (),
    unit: str = "ms",
    calls: int = 1,
    same: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Measure one case; the arguments are those of `interleave` and `summarize`."""
    results = interleave(contenders, settings.seconds, settings.seed, calls, same)
    return summarize(title, unit, results, baseline, goals)
