"""`segaware refine --ray`: a real cluster of this machine, whose actors are killed, too."""

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_refine_workers import COLOR, SLOW, contents, failures, folder, holders, run

__all__ = ["folder"]  # a fixture


def test_what_lost_actors_had_is_done_again_and_a_bad_image_is_listed(folder: Path, segaware: Any) -> None:
    pytest.importorskip("ray.data")
    (folder / "images" / "c.png").write_bytes(b"no image")
    assert segaware(*run(folder, "local", *SLOW)).exit_code == 1
    killed: list[int] = []

    def kill() -> None:
        killed.extend(holders(folder / "out", 1).values())
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = segaware(*run(folder, "out", *SLOW, "--ray", "local", "--workers", "2"))
    killer.join()
    assert result.exit_code == 1 and killed and killed[0] != os.getpid()
    assert "1 of 4 images have no new output: c.png" in result.stderr
    assert contents(folder / "out") == contents(folder / "local")
    assert list(failures(folder / "out")) == ["c.png"]
    result = segaware(*run(folder, "out", *SLOW, "--ray", "local"))  # goes on: only the bad one is left
    assert result.exit_code == 1 and "c.png" in result.stderr


def test_no_cluster_answers(folder: Path, segaware: Any) -> None:
    pytest.importorskip("ray.data")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        result = segaware(*run(folder, "out", *COLOR, "--ray", address))
    assert result.exit_code == 1 and f"--ray {address}: no cluster answers" in result.stderr
    assert not (folder / "out").exists()


def test_without_ray(folder: Path, segaware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    result = segaware(*run(folder, "out", *COLOR, "--ray", "local"))
    assert result.exit_code == 1 and "--ray needs Ray Data: pip install 'segaware[ray]'" in result.stderr


def test_it_is_for_folders(folder: Path, segaware: Any) -> None:
    one = folder / "images" / "a.png", folder / "scores" / "a.npy", "--out", folder / "a.npy"
    result = segaware("refine", *one, *COLOR, "--ray", "local")
    assert result.exit_code == 1 and "--ray is for folders" in result.stderr
    assert not (folder / "a.npy").exists()
