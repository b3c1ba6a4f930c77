"""`segaware refine --ray`: a real cluster of this machine, whose actors are killed, too."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_refine_workers import COLOR, COMMAND, SLOW, contents, failures, folder, holders, run

__all__ = ["folder"]  # a fixture
ONE_TASK = "import ray; ray.init('local', num_cpus=1, include_dashboard=False); ray.get(ray.remote(lambda: 1).remote())"


@pytest.fixture
def ray_runs() -> None:
    """Skip where the system does not let Ray run: it wants ports, shared memory and many processes."""
    pytest.importorskip("ray.data")
    try:
        subprocess.run([sys.executable, "-c", ONE_TASK], check=True, capture_output=True, timeout=60)
    except subprocess.SubprocessError as error:
        pytest.skip(f"Ray does not run here: {error}")


@pytest.mark.usefixtures("ray_runs")
def test_what_a_lost_actor_had_is_done_again_and_a_bad_image_is_listed(folder: Path, segaware: Any) -> None:
    (folder / "images" / "c.png").write_bytes(b"no image")
    assert segaware(*run(folder, "local", *SLOW)).exit_code == 1
    command = *COMMAND, *run(folder, "out", *SLOW, "--ray", "local", "--workers", "2")[1:]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        [actor] = list(holders(folder / "out", 1).values())[:1]
        assert actor != process.pid
        os.kill(actor, signal.SIGKILL)
        stderr = process.communicate(timeout=250)[1]
    assert process.returncode == 1 and "1 of 4 images have no new output: c.png" in stderr
    out, local = contents(folder / "out"), contents(folder / "local")
    assert out.pop("failed.csv") and local.pop("failed.csv")
    assert out == local and out.keys() == {"a.npy", "b.npy", "d.npy"}
    assert failures(folder / "out") == failures(folder / "local")


def test_no_cluster_answers(folder: Path, segaware: Any) -> None:
    pytest.importorskip("ray.data")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        result = segaware(*run(folder, "out", *COLOR, "--ray", address))
    assert result.exit_code == 1 and f"--ray {address}: cannot connect" in result.stderr
    assert not (folder / "out").exists()


def test_without_ray(folder: Path, segaware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    result = segaware(*run(folder, "out", *COLOR, "--ray", "local"))
    assert result.exit_code == 1 and "--ray needs Ray Data: pip install 'segaware[ray]'" in result.stderr


def test_it_is_for_folders(folder: Path, segaware: Any) -> None:
    one = folder / "images" / "a.png", folder / "scores" / "a.npy", "--out", folder / "a.npy"
    result = segaware("refine", *one, *COLOR, "--ray", "local")
    assert result.exit_code == 1 and "--ray is for folders, shards and annotations" in result.stderr
    assert not (folder / "a.npy").exists()
