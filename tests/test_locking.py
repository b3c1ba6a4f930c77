"""A lock names its holder, and a dead process holds none."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segaware.locking import LockedError, locked

_HOLD = """
import sys, time
from pathlib import Path
from segaware.locking import locked
with locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(60)
"""


def _start(lock: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_other_process_is_named_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    process = _start(lock)
    with (
        pytest.raises(LockedError, match=rf"the run is being written by process {process.pid} on "),
        locked(lock, "the run"),
    ):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert lock.is_file()
    with locked(lock, "the run"):
        assert str(os.getpid()) in lock.read_text()
    assert not lock.exists()


def test_twice_in_one_process(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "lock", "it"),
        pytest.raises(LockedError, match=str(os.getpid())),
        locked(tmp_path / "lock", "it"),
    ):
        pass


def test_a_lock_on_a_removed_file_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking, the one who held it finishes, and removes the file."""
    import segaware.locking as locking

    lock, flock, removals = tmp_path / "lock", locking.fcntl.flock, []

    def remove_first(descriptor: int, operation: int) -> None:
        if not removals:
            removals.append(lock.unlink())
        flock(descriptor, operation)

    monkeypatch.setattr(locking.fcntl, "flock", remove_first)
    with locked(lock, "it"), pytest.raises(LockedError), locked(lock, "it"):
        pass
    assert removals
