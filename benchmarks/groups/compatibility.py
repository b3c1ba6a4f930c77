"""Converting networks of other libraries, and finding out what works: docs/compatibility.md is made of it."""

from __future__ import annotations

import functools
from typing import Any

from benchmarks.architectures import ARCHITECTURES, Architecture, check
from benchmarks.harness.plan import Group, Measurement, Settings


def plan(settings: Settings) -> list[Measurement]:
    """Return one step per network."""
    return [Measurement(f"{a.library} {a.name}", functools.partial(_checked, a)) for a in ARCHITECTURES]


def _checked(architecture: Architecture) -> list[dict[str, Any]]:
    return [check(architecture, programs=True)]


GROUP = Group(
    "Networks that are converted",
    "What works of networks of other libraries after conversion.",
    plan,
    runs="named",
    needs=tuple(dict.fromkeys(a.library for a in ARCHITECTURES)),
    rows="networks",
)
