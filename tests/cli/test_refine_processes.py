"""`segaware refine` in several processes at once, in ones that are killed, on full disks, with damaged leftovers."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segaware import refine
from segaware.locking import locked
from segaware.refining import partial_output, refine_files, refinement

SIZE = (40, 52)
COLOR = ("--embedding", "color", "--iterations", "1", "--kernel-size", "3")
PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
SCORES = np.random.default_rng(1).standard_normal((5, *SIZE)).astype(np.float32)
LABELS = np.random.default_rng(2).integers(0, 3, SIZE).astype(np.uint8)

# Runs commands in forked processes, which need not import everything again, nor load the kernels. They refine in tiles,
# and wait in the middle while there is a file "wait".
START = '''
import os, signal, sys, time
import numpy as np
import segaware
import typer
from segaware.cli.refine import refine
from segaware.refining import partial_output, refine_files
from segaware.refining import refinement

segaware.refine(np.zeros((8, 8, 3)), np.zeros((2, 8, 8)), embedding="color", kernel_size=3, iterations=1)
app = typer.Typer()
app.command()(refine)
refinement.memory_left = lambda limit, held: 1e5
run = refinement.Refinement.run

def slowly(self, number, arrays):
    if self.pieces > 2:  # not the small image that is refined before anything is planned
        time.sleep(0.02)
    while number == 3 and os.path.exists("wait"):
        time.sleep(0.01)
    run(self, number, arrays)

refinement.Refinement.run = slowly

def kill_at(module, name, call):
    """Kill this process after a call of a function; before it, if the number of the call is negative."""
    function, calls = getattr(module, name), []
    def killed(*arguments, **options):
        calls.append(name)
        if len(calls) == -call:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(module, name, killed)

def start(log, arguments, patch=lambda: None):
    process = os.fork()
    if process:
        return process
    sys.stdout = sys.stderr = open(log, "w")
    status = 1
    try:
        patch()
        app(arguments)
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.stderr.flush()
        os._exit(status)

def wait(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
'''


def python(code: str, *arguments: Any) -> list[str]:
    """Run code after START, and return the lines that it prints."""
    command = [sys.executable, "-c", START + code, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # other threads would be missing in forked processes
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300, env=environment)
    return result.stdout.splitlines()


def expected(scores: np.ndarray, kind: Any = "scores", **options: Any) -> np.ndarray:
    return refine(PHOTOGRAPH, scores, "filter", kind, "color", kernel_size=3, iterations=1, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(PHOTOGRAPH).save(tmp_path / "image.png")
    np.save(tmp_path / "scores.npy", SCORES)
    Image.fromarray(LABELS).save(tmp_path / "labels.png")
    return tmp_path


@pytest.fixture
def folders(folder: Path) -> Path:
    for name in ("images", "scores"):
        (folder / name).mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray(PHOTOGRAPH).save(folder / "images" / f"{name}.png")
        np.save(folder / "scores" / f"{name}.npy", SCORES)
    return folder


def test_a_second_process_with_the_same_output_is_refused(
    folder: Path, segaware: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "out.npy"
    code = """
command = ["image.png", "scores.npy", "--out", "out.npy", *sys.argv[1:]]
open("wait", "w").close()
first = start("first.log", command)
while not os.path.exists(".out.npy.partial/finished"):
    time.sleep(0.01)
second = wait(start("second.log", [*command, "--overwrite", "--hardness", "5"]))
os.remove("wait")
print(second, wait(first), first)
"""
    monkeypatch.chdir(folder)
    second, first, holder = python(code, *COLOR)[0].split()
    assert (first, second) == ("0", "1"), (folder / "first.log").read_text()
    assert f"is being written by process {holder}" in (folder / "second.log").read_text()
    np.testing.assert_allclose(np.load(out), expected(SCORES), atol=1e-5)
    options = ("--overwrite", "--hardness", "5")
    assert (
        segaware("refine", folder / "image.png", folder / "scores.npy", "--out", out, *COLOR, *options).exit_code == 0
    )
    np.testing.assert_allclose(np.load(out), expected(SCORES, hardness=5.0), atol=1e-5)
    assert not list(folder.glob(".*"))


def test_two_processes_over_one_folder(folders: Path) -> None:
    code = """
os.chdir(sys.argv[1])
commands = [["images", "scores", "--out", "out", *sys.argv[2:]]] * 2
print(*map(wait, [start(f"{number}.log", command) for number, command in enumerate(commands)]))
"""
    statuses = python(code, folders, *COLOR)[0].split()
    outputs = sorted((folders / "out").glob("*.npy"))
    assert [path.name for path in outputs] == ["a.npy", "b.npy", "c.npy"]
    assert {path.name for path in (folders / "out").iterdir()} - {path.name for path in outputs} <= {"failed.csv"}
    for path in outputs:
        np.testing.assert_allclose(np.load(path), expected(SCORES), atol=1e-5)
    assert "0" in statuses  # that of the one which came to its end last
    for number, status in enumerate(statuses):
        assert (status == "1") == ("have no new output" in (folders / f"{number}.log").read_text())


def test_an_output_that_another_process_holds_is_left_to_it(folders: Path, segaware: Any) -> None:
    run = ("refine", folders / "images", folders / "scores", "--out", folders / "out", *COLOR)
    (folders / "out").mkdir()
    with locked(refine_files.lock_path(folders / "out" / "b.npy"), "it"):
        result = segaware(*run)
        assert result.exit_code == 1
        assert (
            f"segaware: b.png: {folders / 'out' / 'b.npy'} is being written by process {os.getpid()}" in result.stderr
        )
        assert result.stderr.endswith("1 of 3 images have no new output: b.png\n")
        assert sorted(path.name for path in (folders / "out").glob("*.npy")) == ["a.npy", "c.npy"]
    assert segaware(*run).exit_code == 0
    assert len(list((folders / "out").iterdir())) == 3


def test_an_output_that_another_process_has_finished_meanwhile_is_no_failure(
    folders: Path, segaware: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, attempts = folders / "out", []

    def finished_meanwhile(lock: Path, what: str) -> Any:
        if "b.npy" in what and not attempts:
            attempts.append(what)
            np.save(out / "b.npy", expected(SCORES))
        return locked(lock, what)

    monkeypatch.setattr(refine_files, "locked", finished_meanwhile)
    result = segaware("refine", folders / "images", folders / "scores", "--out", out, *COLOR)
    assert result.exit_code == 0 and "segaware:" not in result.stderr and len(list(out.iterdir())) == 3


def test_every_stage_may_be_killed(folder: Path, segaware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [
        ("refine_files", "locked", 1),
        ("partial_output", "_allocate", 1),
        ("partial_output", "_allocate", 2),
        ("partial_output", "write_atomically", 1),  # the plan
        ("partial_output", "write_atomically", 2),
        ("partial_output", "write_atomically", 5),  # after three pieces
        ("refinement.Refinement", "run", 6),
        ("partial_output.shutil", "rmtree", -1),  # the output is in place
    ]
    code = """
stages, options = eval(sys.argv[1]), sys.argv[2:]
running = []
for number, (module, name, call) in enumerate(stages):
    for suffix, scores in ((".npy", "scores.npy"), (".png", "labels.png")):
        if suffix == ".png" and number < 5:
            continue
        patch = lambda: kill_at(eval(module), name, call)
        running.append(start("log", ["image.png", scores, "--out", f"{number}{suffix}", *options], patch))
        print(wait(running[-1]))
"""
    monkeypatch.chdir(folder)
    assert set(python(code, stages, *COLOR)) == {"-9"}
    assert len(list(folder.glob(".*partial"))) == 10  # all but that of the first stage
    for number in range(len(stages)):
        for suffix, scores in ((".npy", "scores.npy"), (".png", "labels.png")):
            out = folder / f"{number}{suffix}"
            if suffix == ".png" and number < 5:
                continue
            assert out.exists() == (stages[number][1] == "rmtree"), out
            out.unlink(missing_ok=True)  # of the last: what is left over is not taken for a run without its output
            result = segaware("refine", folder / "image.png", folder / scores, "--out", out, *COLOR)
            assert result.exit_code == 0, (out, result.output)
            if suffix == ".npy":
                np.testing.assert_allclose(np.load(out), expected(SCORES), atol=1e-5)
            else:
                np.testing.assert_array_equal(np.array(Image.open(out)), expected(LABELS, "labels"))
    assert not list(folder.glob(".*"))


@pytest.fixture
def interrupted(folder: Path, segaware: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The partial folder of a run that was interrupted after 5 pieces."""
    run = refinement.Refinement.run

    def stop(self: refinement.Refinement, number: int, arrays: refinement.Arrays) -> None:
        if number == 5:
            raise KeyboardInterrupt
        run(self, number, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(refinement, "memory_left", lambda limit, held: 1e5)
        patch.setattr(refinement.Refinement, "run", stop)
        command = ("refine", folder / "image.png", folder / "scores.npy", "--out", folder / "out.npy", *COLOR)
        assert segaware(*command).exit_code == 130
    yield folder / ".out.npy.partial"


def rewrite(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no plan": lambda partial: (partial / "plan.json").unlink(),
    "empty plan": lambda partial: (partial / "plan.json").write_bytes(b""),
    "plan cut off": lambda partial: os.truncate(partial / "plan.json", 40),
    "plan of bytes": lambda partial: (partial / "plan.json").write_bytes(b"\xff\xfe\x00"),
    "list as plan": lambda partial: (partial / "plan.json").write_text("[1, 2]"),
    "no work": lambda partial: rewrite(partial / "plan.json", work=None),
    "foolish work": lambda partial: rewrite(partial / "plan.json", work=[["refine", [[0, 1]]]]),
    "no finished": lambda partial: (partial / "finished").unlink(),
    "finished nothing": lambda partial: (partial / "finished").write_bytes(b""),
    "finished too much": lambda partial: (partial / "finished").write_bytes(b"999"),
    "finished less than none": lambda partial: (partial / "finished").write_bytes(b"-1"),
    "no output": lambda partial: (partial / "output.npy").unlink(),
    "output cut off": lambda partial: os.truncate(partial / "output.npy", 500),
    "empty output": lambda partial: os.truncate(partial / "output.npy", 0),
    "another output": lambda partial: np.save(partial / "output.npy", np.zeros((5, 52, 40), np.float32)),
    "output of another type": lambda partial: np.save(partial / "output.npy", SCORES.astype(np.float64)),
    "no embedding": lambda partial: (partial / "embedding.npy").unlink(),
    "embedding cut off": lambda partial: os.truncate(partial / "embedding.npy", 500),
    "temporary files": lambda partial: (partial / ".plan.json.77.tmp").write_bytes(b"x"),
    "nothing": lambda partial: [path.unlink() for path in partial.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_left_over_and_damaged_counts_as_none(interrupted: Path, segaware: Any, damage: str) -> None:
    folder = interrupted.parent
    DAMAGES[damage](interrupted)
    command = ("refine", folder / "image.png", folder / "scores.npy", "--out", folder / "out.npy", *COLOR)
    result = segaware(*command)
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(np.load(folder / "out.npy"), expected(SCORES), atol=1e-5)
    assert not interrupted.exists()


@pytest.mark.parametrize("foreign", ["file in it", "folder in it", "is a file", "is a link"])
def test_a_partial_folder_of_somebody_else_is_left_alone(folder: Path, fails: Callable[..., str], foreign: str) -> None:
    partial, kept = folder / ".out.npy.partial", folder / "kept"
    kept.mkdir()
    (kept / "notes.txt").write_text("kept")
    if foreign == "is a file":
        partial.write_text("kept")
    elif foreign == "is a link":
        partial.symlink_to(kept)
    else:
        partial.mkdir()
        np.save(partial / "output.npy", np.zeros(3))
        if foreign == "file in it":
            (partial / "notes.txt").write_text("kept")
        else:
            (partial / "embedding.npy").mkdir()
    before = sorted(folder.rglob("*"))
    line = fails("refine", folder / "image.png", folder / "scores.npy", "--out", folder / "out.npy", *COLOR)
    assert str(partial) in line and "move it away" in line
    assert sorted(folder.rglob("*")) == before and (kept / "notes.txt").read_text() == "kept"


@pytest.mark.parametrize("out", ["scores.npy", "./scores.npy", "symlink.npy", "hardlink.npy", "SCORES.NPY",
                                 "image.png", "linked/scores.npy", "photograph.npy"])  # fmt: skip
@pytest.mark.parametrize("overwrite", [True, False])
def test_an_output_that_is_an_input_is_refused(
    folder: Path, fails: Callable[..., str], out: str, overwrite: bool
) -> None:
    (folder / "symlink.npy").symlink_to(folder / "scores.npy")
    (folder / "hardlink.npy").hardlink_to(folder / "scores.npy")
    (folder / "linked").symlink_to(folder)
    image = folder / "image.png"
    if out == "photograph.npy":  # a photograph may have any name
        image = folder / out
        (folder / "image.png").rename(image)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    line = fails("refine", image, folder / "scores.npy", "--out", folder / out, *COLOR, *["--overwrite"] * overwrite)
    assert "must be another file or folder than what is read" in line
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("out", ["images", "scores", "symlink", "SCORES", "scores/../images"])
def test_an_output_folder_that_is_an_input_folder_is_refused(
    folders: Path, fails: Callable[..., str], out: str
) -> None:
    (folders / "symlink").symlink_to(folders / "scores")
    before = sorted(folders.rglob("*"))
    for overwrite in ([], ["--overwrite"]):
        line = fails("refine", folders / "images", folders / "scores", "--out", folders / out, *COLOR, *overwrite)
        assert "must be another file or folder than what is read" in line
    assert sorted(folders.rglob("*")) == before
    line = fails("refine", folders / "images", folders / "scores", "--out", folders / "labels.png", *COLOR)
    assert "must be a folder" in line


def test_the_output_may_not_be_a_folder(folder: Path, fails: Callable[..., str]) -> None:
    (folder / "out.npy").mkdir()
    run = ("refine", folder / "image.png", folder / "scores.npy", "--out", folder / "out.npy", "--overwrite", *COLOR)
    assert "a folder is there" in fails(*run)


def test_a_full_disk_is_one_line(
    folder: Path, fails: Callable[..., str], segaware: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "out.npy"
    out.write_bytes(b"kept")
    run = ("refine", folder / "image.png", folder / "scores.npy", "--out", out, "--overwrite", *COLOR)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert "out.npy: no room on the disk (No space left on device)" in fails(*run)
        assert out.read_bytes() == b"kept" and not list(folder.glob(".*"))
    with monkeypatch.context() as patch:
        patch.setattr(partial_output.PartialOutput, "finish", lambda self, pieces: pieces and full())
        assert "no room on the disk" in fails(*run)
    assert segaware(*run).exit_code == 0
    np.testing.assert_allclose(np.load(out), expected(SCORES), atol=1e-5)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False).returncode:
        pytest.skip("only root can mount a disk that is full soon")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_really_full(folder: Path, small_disk: Path, fails: Callable[..., str]) -> None:
    run = ("refine", folder / "image.png", folder / "scores.npy", *COLOR, "--stride", "1", "--out")
    assert "no room on the disk" in fails(*run, small_disk / "out.npy")  # 41 KB and 25 KB of embeddings
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("call", [True, False])
def test_arrays_have_their_room_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: bool) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if not call:
        monkeypatch.setattr(os, "posix_fallocate", unsupported)
    path = tmp_path / "a.npy"
    partial_output._allocate(path, np.dtype(np.float32), (3, 700, 500))
    assert path.stat().st_blocks * 512 >= path.stat().st_size
    assert not np.load(path).any() and np.load(path).shape == (3, 700, 500)
