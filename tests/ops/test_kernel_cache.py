"""What happens to the machine code on disk where files are damaged or cannot be written."""

import errno
import importlib.util
import logging
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core import caching, config

from segaware.ops import _kernel_cache

KERNELS = """
from segaware.ops._parallel import kernel

@kernel
def double(values):
    return 2 * values

@kernel
def triple(values):
    return 3 * values
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[list[str], int]]:
    """A function that calls two small kernels as a new process would: what it warns of, and how much the cache had."""
    source = tmp_path / "small_kernels.py"
    source.write_text(KERNELS)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))

    def call() -> tuple[list[str], int]:
        monkeypatch.setattr(_kernel_cache, "_told", set())
        specification = importlib.util.spec_from_file_location("small_kernels", source)
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for kernel, factor in ((module.double, 2), (module.triple, 3)):
                for dtype in (np.float32, np.float64):
                    assert kernel(np.ones(3, dtype)).tolist() == [factor] * 3
        return [str(warning.message) for warning in told], sum(
            sum(kernel.stats.cache_hits.values()) for kernel in (module.double, module.triple)
        )

    assert call() == ([], 0) and call() == ([], 4)
    return call


def zeros_inside(content: bytes) -> bytes:
    """As a file system may leave a file when the power fails: as long as it was, and pickled as it was."""
    middle = len(content) // 2
    return content[: middle - 100] + bytes(200) + content[middle + 100 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "a few bytes": lambda content: content[:7],
    "half": lambda content: content[: len(content) // 2],
    "all but a byte": lambda content: content[:-1],
    "text": lambda content: b"garbage" * 99,
    "zeros": lambda content: bytes(len(content)),
    "a number": lambda content: pickle.dumps(7),
    "noise": lambda content: content[:4] + os.urandom(len(content) - 4),
}


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [(suffix, damage) for suffix in (".nbi", ".nbc") for damage in DAMAGES.values()] + [(".nbc", zeros_inside)],
)
def test_a_damaged_cache_is_said_once_and_mended(
    suffix: str, damage: Callable[[bytes], bytes], run: Any, tmp_path: Path
) -> None:
    files = list((tmp_path / "cache").rglob(f"*{suffix}"))
    assert len(files) == {".nbi": 2, ".nbc": 4}[suffix]
    for file in files:
        file.write_bytes(damage(file.read_bytes()))
    told, _ = run()
    # An index that begins with another version than Numba's is no damage.
    if not (suffix == ".nbi" and damage in (DAMAGES["a number"],)):
        assert len(told) == 1 and "is damaged, so kernels are compiled again (" in told[0] and str(tmp_path) in told[0]
    assert run() == ([], 4)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_said_once(
    number: int, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    for damaged in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(caching.IndexDataCacheFile, "_open_for_write", fail)
            assert run() == ([], 4)  # what is there is read
            for file in (tmp_path / "cache").rglob("*.nbi"):
                file.write_bytes(b"") if damaged else file.unlink()
            told, hits = run()
        assert hits == 0 and len(told) == 1 + damaged
        assert "is not writable, so every process compiles kernels anew (" in told[-1]
        assert os.strerror(number) in told[-1]
        run()
        assert run() == ([], 4)


def test_long_compiling_is_told_once(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="segaware")
    monkeypatch.setattr(_kernel_cache, "_PATIENCE", 0)
    run()  # from the disk
    assert caplog.messages == []
    for file in (tmp_path / "cache").rglob("*.nb[ic]"):
        file.unlink()
    run()
    folder = next((tmp_path / "cache").iterdir())
    assert set(caplog.messages) == {
        f"compiling small_kernels.{name} for this processor, once; kept in {folder}" for name in ("double", "triple")
    }


def test_in_a_process_of_its_own(run: Any, tmp_path: Path) -> None:
    for file in (tmp_path / "cache").rglob("*.nb[ic]"):
        file.write_bytes(file.read_bytes()[:50])
    code = (
        "import numpy, small_kernels; print(small_kernels.double(numpy.ones(2)), small_kernels.triple(numpy.ones(2)))"
    )
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env={**os.environ, **environment}, cwd=tmp_path, timeout=250,
    )  # fmt: skip
    assert process.stdout == "[2. 2.] [3. 3.]\n", process.stderr
    assert process.stderr.count("Warning") == process.stderr.count("is damaged") == 1
