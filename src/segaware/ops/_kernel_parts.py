"""Functions that only kernels call: compiled as parts of these, which takes half the time.

Numba would optimise each, make machine code of it and of what calls it from Python and C, and then do so again with
every function that it is linked into. A kernel calls functions that call others, so all was compiled three times.
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder


class _Part(JITCodeLibrary):
    """The intermediate code of a function, with that of all it calls."""

    def finalize(self) -> None:
        """Link, and leave the rest to the kernel."""
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """There is no machine code for Python to call."""
        return 0

    @property
    def codegen(self) -> _Part:
        """Numba would tell it the environment of machine code. Kernels raise nothing, and need none."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing, see `codegen`."""


class PartCompiler(CompilerBase):
    """Numba's compiler, but for what becomes of the intermediate code."""

    def define_pipelines(self) -> list[Any]:
        """Return the passes."""
        self.state.library = _Part(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]
