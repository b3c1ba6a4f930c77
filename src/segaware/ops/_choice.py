"""What `use_backend` chose in this context: a variable `backend` of this module.

It is a context variable, which belongs to a thread or an asynchronous task. torch.compile cannot follow the calls that
read and write one, but it follows a module's variable, and reads it again before it runs what it has compiled.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import ModuleType
from typing import Literal, TypeAlias

Backend: TypeAlias = Literal["reference", "numba", "triton"]

_VARIABLE: ContextVar[Backend | None] = ContextVar("segaware_backend", default=None)

backend: Backend | None  # the property


class _Module(ModuleType):
    @property
    def backend(self) -> Backend | None:
        return _VARIABLE.get()

    @backend.setter
    def backend(self, value: Backend | None) -> None:
        _VARIABLE.set(value)


sys.modules[__name__].__class__ = _Module
