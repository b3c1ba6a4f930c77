"""What is installed and what can run here; works on a core install, without typer."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version

import torch
from packaging.requirements import Requirement

from segaware.extras import EXTRAS
from segaware.ops._backends import backend_notes

_PACKAGES = ("segaware", "torch", "numpy", "numba", "triton", "lightning", "torchmetrics", "safetensors", "pillow")


def doctor() -> None:
    """Print versions, and which backends can run here or why they cannot."""
    for line in report_lines():
        print(line)


def report_lines() -> list[str]:
    """Return the lines that `segaware doctor` prints."""
    lines = [f"{'python':14} {platform.python_version()} on {platform.system()} {platform.machine()}"]
    lines += [f"{package:14} {_version(package) or 'not installed'}" for package in _PACKAGES]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that this PyTorch can use"
    lines += [f"{'threads':14} {torch.get_num_threads()}", f"{'GPU':14} {gpu}", "", "backends of the operators"]
    lines += [f"{backend:14} {note}" for backend, note in backend_notes().items()]
    lines += ["", "extras, of which `pip install 'segaware[NAME]'` installs one"]
    return lines + [f"{extra:14} {note}" for extra, note in extra_notes().items()]


def extra_notes() -> dict[str, str]:
    """Say of every extra whether it is installed, which packages are missing or too old, and what it brings."""
    if _version("segaware") is None:  # it is on the path, without what an installation says of it
        return dict.fromkeys(EXTRAS, "not known, for segaware itself is not installed")
    requirements = [Requirement(line) for line in requires("segaware") or ()]
    return {extra: f"{_state(extra, requirements)}; brings {brings}" for extra, brings in EXTRAS.items()}


def _state(extra: str, requirements: Sequence[Requirement]) -> str:
    applicable = [each for each in requirements if each.marker and each.marker.evaluate({"extra": extra})]
    if not applicable:
        return "nothing to install on this system"
    problems = filter(None, (_problem(each, requirements) for each in applicable))
    return ", ".join(problems) or "installed"


def _problem(requirement: Requirement, requirements: Sequence[Requirement]) -> str | None:
    """Return what is wrong with an installed package, or None; extras of extras are named, not listed."""
    if requirement.name == "segaware":
        missing = [other for other in sorted(requirement.extras) if _state(other, requirements) != "installed"]
        return f"{', '.join(missing)} incomplete" if missing else None
    found = _version(requirement.name)
    if found is None:
        return f"{requirement.name} missing"
    specifier = requirement.specifier
    return None if specifier.contains(found, prereleases=True) else f"{requirement.name} {found} is not {specifier}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
