"""The provenance of a measured number: versions, commit, machine and command, stored beside every result."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segaware.atomic import write_atomically
from segaware.strict_json import strict_json
from segaware.version import __version__


def provenance(*program: str) -> dict[str, Any]:
    """Return what is needed to reproduce a measurement: versions, commit, machine and command line.

    Args:
        program: What runs, if it is not the command `segaware`: "python" and the name of a script.
    """
    return {
        "command": shlex.join([*(program or ("segaware",)), *map(_without_machine, sys.argv[1:])]),
        "commit": _commit(),
        "segaware": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
    }


def _without_machine(argument: str) -> str:
    """Return an argument, its absolute path (also after `key=`) as seen from the working folder: files travel."""
    key, equals, value = argument.rpartition("=")
    try:
        return f"{key}{equals}{os.path.relpath(value)}" if os.path.isabs(value) else argument
    except ValueError:  # on another drive of Windows
        return argument


def _commit() -> str | None:
    """Return the commit of the source tree, marked if files in it differ; None for an installed package.

    A copy without its repository may be told in SEGAWARE_COMMIT.
    """
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        # Fails for a package installed somewhere below a repository of its user's.
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SEGAWARE_COMMIT")
    return f"{commit} with uncommitted changes" if changes.strip() else commit


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def weights_digest(tensors: dict[str, Tensor]) -> str:
    """Return 16 hexadecimal digits that tell the weights of networks apart, whatever file they were read from.

    Args:
        tensors: The weights by name, as `state_dict()` gives them; no bfloat16, which NumPy does not know.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def write_json(path: Path, values: Any) -> None:
    """Write JSON, whole or not at all; a number that is not finite is null there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (strict_json(values, indent=2) + "\n").encode())
