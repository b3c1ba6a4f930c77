"""`segaware refine --workers N`: real processes, which are killed, too."""

import csv
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segaware.locking import locked
from segaware.refining import refine_files

COLOR = ("--embedding", "color", "--kernel-size", "3", "--max-memory", "9GB")
SLOW = (*COLOR, "--iterations", "2000")  # an image takes a second
COMMAND = (
    sys.executable,
    "-c",
    "import signal\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores\n"
    "from segaware.cli.main import app; app()",
    "refine",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images a to d, with scores that are coarser by a part that no number of threads divides."""
    rng = np.random.default_rng(0)
    for name in ("images", "scores"):
        (tmp_path / name).mkdir()
    for name in "abcd":
        Image.fromarray(rng.integers(0, 256, (97, 131, 3), np.uint8)).save(tmp_path / "images" / f"{name}.png")
        np.save(tmp_path / "scores" / f"{name}.npy", rng.standard_normal((5, 33, 44)).astype(np.float32))
    return tmp_path


def run(folder: Path, out: str, *options: Any) -> tuple[Any, ...]:
    return "refine", folder / "images", folder / "scores", "--out", folder / out, *options


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def failures(out: Path) -> dict[str, str]:
    with (out / "failed.csv").open(newline="") as file:
        return {Path(row["image"]).name: row["error"] for row in csv.DictReader(file)}


def holders(out: Path, count: int) -> dict[str, int]:
    """Wait until so many outputs are worked at, and return the processes that do."""
    found: dict[str, int] = {}
    deadline = time.monotonic() + 600
    while len(found) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        found = {}
        for lock in out.glob(".*.refine-lock"):
            try:
                holder = re.match(r"process (\d+)", lock.read_text())
            except FileNotFoundError:
                continue
            if holder:
                found[lock.name[1]] = int(holder[1])
    return found


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_same_bits_for_any_number_of_workers(folder: Path, segaware: Any) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)  # which are divided
        for workers in (1, 2, 3):
            result = segaware(*run(folder, f"out{workers}", "--max-memory", "9GB", "--workers", workers))
            assert result.exit_code == 0, result.output
    finally:
        torch.set_num_threads(threads)
    one = contents(folder / "out1")
    assert list(one) == ["a.npy", "b.npy", "c.npy", "d.npy"]
    assert contents(folder / "out2") == contents(folder / "out3") == one


@pytest.mark.parametrize("workers", [1, 2])
def test_what_failed_is_listed(folder: Path, segaware: Any, fails: Callable[..., str], workers: int) -> None:
    out, scores = folder / "out", folder / "scores"
    out.mkdir()
    (out / "failed.csv").write_text("image,note\n")
    command = run(folder, "out", *COLOR, "--iterations", "1", "--workers", workers)
    assert "failed.csv is where failures are listed, but not refine's own" in fails(*command)
    (out / "failed.csv").write_text("image,scores,error\nold.png,old.npy,as it was\n")
    whole = (scores / "b.npy").read_bytes()
    (scores / "b.npy").write_bytes(whole[:500])
    (scores / "c.npy").rename(folder / "c.npy")
    with locked(refine_files.lock_path(out / "d.npy"), "it"):
        result = segaware(*command)
    assert result.exit_code == 1
    assert result.stderr.endswith("3 of 4 images have no new output: b.png, c.png, d.png\n")
    assert sorted(path.name for path in out.iterdir()) == ["a.npy", "failed.csv"]
    listed = failures(out)
    assert list(listed) == ["b.png", "c.png", "d.png"]
    assert "b.npy" in listed["b.png"] and "no such file" in listed["c.png"]
    assert f"is being written by process {os.getpid()}" in listed["d.png"]
    for name, error in listed.items():
        assert f"segaware: {name}: {error}\n" in result.stderr
    (scores / "b.npy").write_bytes(whole)
    (folder / "c.npy").rename(scores / "c.npy")
    assert segaware(*command).exit_code == 0
    assert list(contents(out)) == ["a.npy", "b.npy", "c.npy", "d.npy"]


def test_a_killed_worker_takes_its_image_alone_with_it(folder: Path, segaware: Any) -> None:
    out, killed = folder / "out", {}

    def kill() -> None:
        killed.update([next(iter(holders(out, 2).items()))])
        os.kill(*killed.values(), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = segaware(*run(folder, "out", *SLOW, "--workers", 2))
    killer.join()
    [name] = killed
    assert result.exit_code == 1 and failures(out) == {
        f"{name}.png": "its process stopped with status -9: out of memory?"
    }
    assert {path.stem for path in out.glob("*.npy")} == set("abcd") - {name}
    assert segaware(*run(folder, "out", *SLOW)).exit_code == 0
    assert list(contents(out)) == ["a.npy", "b.npy", "c.npy", "d.npy"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command(folder: Path, segaware: Any, how: signal.Signals) -> None:
    out = folder / "out"
    arguments = (*run(folder, "out", *SLOW)[1:], "--workers", "2")
    with subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stderr is not None
        workers = holders(out, 2).values()
        if how == signal.SIGINT:
            os.killpg(process.pid, how)  # as a terminal does
            assert (
                b"".join(process.stderr)
                == b"segaware: interrupted; the same command goes on with what is not finished\n"
            )
            assert process.wait() == 130 and not list(out.glob(".*lock"))
        else:
            process.kill()
            process.stderr.read()  # which they have, too, as long as they live
    deadline = time.monotonic() + 30
    while any(map(lives, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert segaware(*run(folder, "out", *SLOW)).exit_code == 0
    assert list(contents(out)) == ["a.npy", "b.npy", "c.npy", "d.npy"]


def test_what_makes_no_sense_is_one_line(folder: Path, fails: Callable[..., str]) -> None:
    line = fails(*run(folder, "out", "--workers", 5))
    assert line == "max_memory is shared by 5 workers, which need at least 1 GB each, got 4 GB"
    files = (folder / "images" / "a.png", folder / "scores" / "a.npy")
    assert "--workers is for folders" in fails("refine", *files, "--out", folder / "a.npy", "--workers", 2)
    assert not (folder / "out").exists()
