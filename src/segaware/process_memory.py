"""Memory of this process and of the machine."""

from __future__ import annotations

import ctypes
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal


def process_memory(field: Literal["VmRSS", "VmHWM"]) -> float:
    """Return how much memory of this process is resident, or the most that ever was, in MB.

    Raises:
        OSError: If the system is not Linux.
    """
    # getrusage's ru_maxrss would not do: it begins with the peak of the process that started this one.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {field}")


def machine_memory() -> float:
    """Return the bytes of memory of this machine; infinity where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return math.inf


def forget_peak() -> None:
    """Let the most that was ever resident begin anew, where the system allows that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def release_memory() -> None:
    """Give freed memory back to the system, where the allocator can (glibc): it grew by 300 MB over 40 tiles."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
