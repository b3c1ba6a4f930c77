"""Files appear whole, and what killed processes have left is swept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from segaware import atomic
from segaware.atomic import replaced, write_atomically
from segaware.data import write_png
from segaware.data.flow import write_flo


def _dead() -> int:
    """The number of a process that has ended."""
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)


def test_left_over_of_a_dead_process_is_swept(tmp_path: Path) -> None:
    dead = _dead()
    left = tmp_path / f".a.png.{dead}.tmp"
    others = [f".a.png.{os.getppid()}.tmp", f".b.png.{dead}.tmp", f"a.png.{dead}.tmp", ".a.png.tmp", ".a.png.12x.tmp"]
    for name in (left.name, *others):
        (tmp_path / name).write_bytes(b"half")
    write_png(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", *others}
    (tmp_path / f".c.flo.{dead}.tmp").touch()
    write_flo(tmp_path / "c.flo", np.zeros((2, 2, 2), np.float32))
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "c.flo", *others}


def test_killed_while_writing(tmp_path: Path) -> None:
    """A file that is being written stays, even if its number seems to be that of no process; then it is swept."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom segaware.atomic import replaced\n"
        "with replaced(Path(sys.argv[1])) as path:\n"
        "    path.write_bytes(b'half')\n    print(path.name, flush=True)\n    time.sleep(600)\n"
    )
    path = tmp_path / "a.bin"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    left = tmp_path / process.stdout.readline().strip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "_runs", lambda _: False)  # as on another machine
        write_atomically(path, b"first")
    assert left.read_bytes() == b"half"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left.exists()
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second" and list(tmp_path.iterdir()) == [path]


def test_error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")
    with pytest.raises(ZeroDivisionError), replaced(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_png(tmp_path / "none/a.png", np.zeros((2, 2), np.uint8))


def test_large_folder_is_not_searched_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_MANY", 3)
    searched = []
    original = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: searched.append(folder) or original(folder))
    started = time.monotonic()
    for i in range(20):
        write_atomically(tmp_path / f"{i}.bin", b"")
    assert len(searched) <= 5 + (time.monotonic() - started) / atomic._PAUSE
