"""`segaware refine SHARDS COLUMN --ray`: a real cluster of this machine; driver and actors are killed, too."""

import csv
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_refine_ray import ray_runs
from tests.cli.test_refine_workers import COLOR, COMMAND, contents, folder, run
from tests.cluster.shard_files import read_tar, write_tar

SLOW = (*COLOR, "--iterations", "300")  # slow enough to be killed
__all__ = ["folder", "ray_runs"]  # fixtures


@pytest.fixture
def local(folder: Path, segaware: Any) -> dict[str, bytes]:
    """What the local command writes for the images of `folder`."""
    assert segaware(*run(folder, "local", *SLOW)).exit_code == 0
    return contents(folder / "local")


@pytest.fixture
def tars(folder: Path) -> Path:
    """Shards 0 to 5, of one to three images; one in 1 is bad, and 5 is no tar file."""
    (folder / "shards").mkdir()
    for number, names in enumerate(("a", "bx", "cda", "b", "d")):
        samples = {name: sample(folder, name) for name in names}
        write_tar(folder / "shards" / f"{number}.tar", samples)
    (folder / "shards" / "5.tar").write_bytes(b"no tar file" * 100)
    return folder / "shards"


def sample(folder: Path, name: str) -> dict[str, bytes]:
    if name == "x":
        return {"png": b"no image", "npy": b"no scores"}
    image, scores = folder / "images" / f"{name}.png", folder / "scores" / f"{name}.npy"
    return {"png": image.read_bytes(), "npy": scores.read_bytes(), "txt": name.encode()}


def start(source: Path, column: str, out: Path, *options: Any) -> subprocess.Popen[str]:
    command = *COMMAND, source, column, "--out", out, *SLOW, "--ray", "local", "--workers", "2", *options
    return subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)


def wait_for(out: Path, pattern: str) -> Path:
    deadline = time.monotonic() + 250
    while not (found := sorted(out.glob(pattern))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0]


@pytest.mark.usefixtures("ray_runs")
def test_a_killed_driver_goes_on_with_the_shards_that_are_not_there(
    folder: Path, tars: Path, local: dict[str, bytes]
) -> None:
    out = folder / "out"
    with start(tars, "npy", out) as process:
        first = wait_for(out, "[0-9].tar")
        process.kill()
    before = first.stat()
    assert len(list(out.glob("[0-9].tar"))) < 5
    with start(tars, "npy", out) as process:
        stderr = process.communicate(timeout=250)[1]
    assert process.returncode == 1 and "2 images or shards have no output" in stderr
    assert first.stat().st_ino == before.st_ino and first.stat().st_mtime_ns == before.st_mtime_ns
    assert "images/s" in stderr
    with (out / "failed.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["shard"], row["sample"]) for row in rows] == [("1.tar", "x"), ("5.tar", "")]
    assert "x.npy" in rows[0]["error"] and "not a tar file" in rows[1]["error"]
    tars_made = [f"{number}.tar" for number in range(5)]
    assert {path.name for path in out.iterdir()} == {*tars_made, "1.tar.failed.csv", "failed.csv"}
    for number, names in enumerate(("a", "b", "cda", "b", "d")):
        made = {
            f"{name}.{end}": data
            for name in names
            for end, data in (("txt", name.encode()), ("npy", local[f"{name}.npy"]))
        }
        assert read_tar(out / f"{number}.tar") == made


@pytest.mark.usefixtures("ray_runs")
def test_a_shard_of_a_killed_actor_is_done_again(folder: Path, local: dict[str, bytes]) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    files = [sample(folder, name) for name in "abcd"]
    table = {"image": [each["png"] for each in files], "scores": [each["npy"] for each in files], "name": list("abcd")}
    (folder / "shards").mkdir()
    parquet.write_table(pyarrow.table(table), folder / "shards" / "0.parquet")
    out = folder / "out"
    with start(folder / "shards", "scores", out) as process:
        temporary = wait_for(out, ".0.parquet.*.tmp")
        actor = int(temporary.name.split(".")[3])
        assert actor != process.pid
        os.kill(actor, signal.SIGKILL)
        stderr = process.communicate(timeout=250)[1]
    assert process.returncode == 0, stderr
    assert [path.name for path in out.iterdir()] == ["0.parquet"]
    made = parquet.read_table(out / "0.parquet").to_pylist()
    assert made == [{"name": name, "scores": local[f"{name}.npy"]} for name in "abcd"]


def test_shards_are_for_ray(folder: Path, tars: Path, fails: Any) -> None:
    assert "shards are for --ray" in fails("refine", tars, "npy", "--out", folder / "out", *COLOR)
    assert "another folder than that of what is read" in fails(
        "refine", tars, "npy", "--out", tars, *COLOR, "--ray", "local"
    )
    assert "--suffix must be one of" in fails("refine", tars, "npy", "--out", "x", "--ray", "local", "--suffix", ".jpg")
    assert "--gpus 1: is for the workers of --ray" in fails("refine", tars, "npy", "--out", "x", "--gpus", "1")
    assert not (folder / "out").exists()
