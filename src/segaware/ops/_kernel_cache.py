"""Machine code of kernels on disk: files that are damaged, or cannot be written, cost a compilation and no more."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

_DAMAGED = "damaged, so kernels are compiled again"
_NOT_WRITABLE = "not writable, so every process compiles kernels anew"

_told: set[str] = set()


class KernelCache(FunctionCache):
    """Numba's cache of one function. It is left out where it fails, with a warning, and mended if that can be."""

    _cache_file: IndexDataCacheFile

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        file: Any = self._cache_file
        self._cache_file: Any = _CheckedFile(file._cache_path, self._impl.filename_base, file._source_stamp)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return what has been compiled for a signature, or None."""
        try:
            return super().load_overload(signature, target_context)
        except Exception as error:  # unpickling can raise anything
            self._tell(_DAMAGED, error)
        try:
            self.flush()
        except OSError as error:
            self._tell(_NOT_WRITABLE, error)
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep what has been compiled for a signature."""
        try:
            super().save_overload(signature, compiled)
        except Exception as error:  # it reads the index first
            self._tell(_NOT_WRITABLE, error)

    def _tell(self, problem: str, error: Exception) -> None:
        """Warn of one kind of problem, once in a process: there are many kernels."""
        if problem not in _told:
            _told.add(problem)
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"segaware's kernel cache in {self.cache_path} is {problem} ({reason})", stacklevel=2)


class _CheckedFile(IndexDataCacheFile):
    """With a digest of the machine code: damage that unpickling does not notice would end the process."""

    _version: str

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._version: str = f"{self._version}, sha256"  # so that files of Numba's own are not taken for damaged ones

    def _save_data(self, name: str, data: Any) -> None:
        pickled = self._dump(data)
        super()._save_data(name, (hashlib.sha256(pickled).digest(), pickled))

    def _load_data(self, name: str) -> Any:
        digest, pickled = super()._load_data(name)
        if hashlib.sha256(pickled).digest() != digest:
            raise ValueError(f"{name} is not what was written")
        return pickle.loads(pickled)
