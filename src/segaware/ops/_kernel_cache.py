"""Machine code of kernels on disk: files that are damaged, or cannot be written, cost a compilation and no more."""

from __future__ import annotations

import hashlib
import logging
import pickle
import threading
import warnings
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

_DAMAGED = "damaged, so kernels are compiled again"
_NOT_WRITABLE = "not writable, so every process compiles kernels anew"

_PATIENCE = 2  # seconds of compiling before the log is told

_LOGGER = logging.getLogger(__name__)

_told: set[str] = set()


class KernelCache(FunctionCache):
    """Numba's cache of one kernel. It is left out where it fails, with a warning, and mended if that can be.

    Between looking for a kernel in vain and keeping it, Numba compiles it; the log is told if that takes long.
    """

    _cache_file: IndexDataCacheFile
    _compiling: threading.Timer

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        file: Any = self._cache_file
        self._cache_file: Any = _CheckedFile(file._cache_path, self._impl.filename_base, file._source_stamp)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return what has been compiled for a signature, or None."""
        compiled = self._load(signature, target_context)
        if compiled is None:
            kernel = f"{self._py_func.__module__}.{self._py_func.__name__}"
            message = "compiling %s for this processor, once; kept in %s"
            self._compiling = threading.Timer(_PATIENCE, _LOGGER.info, (message, kernel, self.cache_path))
            self._compiling.daemon = True
            self._compiling.start()
        return compiled

    def _load(self, signature: Any, target_context: Any) -> Any:
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
        self._compiling.cancel()
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
