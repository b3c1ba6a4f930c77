"""Commands replace neither what they read, nor what they were not told to, and look before they work."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import Result

from segaware.experiments.build import build_network
from segaware.recipes.files import load_recipe
from segaware.training import save_weights

Segaware = Callable[..., Result]
Fails = Callable[..., str]
NAME = "demo/baseline"
SMALL = ("model.width=0.0625", "data.crop=[32, 32]", "evaluation.images=2", "evaluation.half_widths=[1]")
FLOW = "harley2017/table3/flownets"
SMALL_FLOW = ("data=flying_chairs", "model.width=0.03125")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with the weights of recipes, as training leaves them."""
    for name, overrides, folder in ((NAME, SMALL, ""), (FLOW, SMALL_FLOW[1:], "flying_chairs")):
        recipe = load_recipe(name, overrides, folder or None)
        description = {"recipe": name, "values": recipe.model_dump(mode="json")}
        save_weights(tmp_path / "runs" / folder / name / "model.safetensors", build_network(recipe), description)
    return tmp_path / "runs"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.png", "c.png")):
        Image.fromarray(np.full((66, 70, 3), 40 * i, np.uint8)).save(folder / name)
    return folder


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["predict", "flow"])
def command(request: pytest.FixtureRequest, runs: Path) -> tuple[str, tuple[Any, ...], str]:
    """A command that writes files for images, its other arguments, and the folder of its files."""
    if request.param == "predict":
        return "predict", (*SMALL, "--recipe", NAME, "--runs", runs), "labels"
    changes = [part for override in SMALL_FLOW for part in ("--set", override)]
    return "flow", (*changes, "--recipe", FLOW, "--runs", runs), "kitti"


def test_inputs_are_never_outputs(
    fails: Fails, command: tuple[str, tuple[Any, ...], str], photos: Path, tmp_path: Path
) -> None:
    name, arguments, kind = command
    before = _contents(photos)
    folder = photos.rename(tmp_path / kind)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / kind).symlink_to(folder)
    for out in (tmp_path, tmp_path / "linked"):
        line = fails(name, folder, *arguments, "--out", out, "--overwrite")
        assert line == f"{out / kind} is to be written, but it is the folder that is read: choose another --out"
    for link in (os.link, os.symlink):
        out = tmp_path / link.__name__
        (out / kind).mkdir(parents=True)
        link(folder / "a.png", out / kind / "a.png")
        line = fails(name, folder, *arguments, "--out", out, "--overwrite")
        assert f"a.png is to be written, but it is what is read ({folder / 'a.png'})" in line
    assert list(_contents(folder).values()) == list(before.values())


def test_what_is_there_is_replaced_when_asked(
    segaware: Segaware, fails: Fails, command: tuple[str, tuple[Any, ...], str], photos: Path, tmp_path: Path
) -> None:
    name, arguments, kind = command
    out = tmp_path / "out"
    (out / kind).mkdir(parents=True)
    foreign = out / kind / "b.png"
    foreign.write_bytes(b"somebody's")
    line = fails(name, photos, *arguments, "--out", out)
    assert line == f"{foreign} is there already; pass --overwrite to replace what is there"
    assert _contents(out) == {foreign: b"somebody's"}
    other = out / kind / "other.png"
    other.write_bytes(b"not of these images")
    done = segaware(name, photos, *arguments, "--out", out, "--overwrite")
    assert done.exit_code == 0, done.output
    assert Image.open(foreign).size == (70, 66) and other.read_bytes() == b"not of these images"
    if name == "predict":
        assert "more of 6 files" in fails(name, photos, *arguments, "--out", out)
    else:  # which knows its own files
        assert segaware(name, photos, *arguments, "--out", out).exit_code == 0
        (out / "flo/a.flo").unlink()
        assert "a.png is there already, and 1 more" in fails(name, photos, *arguments, "--out", out)


def test_folder_in_the_place_of_a_file(
    fails: Fails, command: tuple[str, tuple[Any, ...], str], photos: Path, tmp_path: Path
) -> None:
    name, arguments, kind = command
    (tmp_path / "out" / kind / "a.png").mkdir(parents=True)
    line = fails(name, photos, *arguments, "--out", tmp_path / "out", "--overwrite")
    assert line.endswith("a.png is to be written as a file, but it is a folder")
    assert not _contents(tmp_path / "out")


def test_compare(fails: Fails, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    out.write_bytes(b"somebody's")
    assert "a.png is there already; pass --overwrite" in fails("compare", NAME, "demo/control", "--out", out)
    assert "--out must end in .html or .png, got" in fails("compare", NAME, "demo/control", "--out", tmp_path / "a.npz")
    assert "there is no folder" in fails("compare", NAME, "demo/control", "--out", tmp_path / "none/a.png")
    assert out.read_bytes() == b"somebody's"
    line = fails("compare", NAME, "demo/embedding", "--out", tmp_path / "b.png")
    assert line == "demo/embedding, of the embedding stage, predicts nothing to compare"
    assert "are of different stages" in fails("compare", NAME, FLOW, "--out", tmp_path / "b.png")


def test_export_onto_the_weights(fails: Fails, runs: Path) -> None:
    weights = runs / NAME / "model.safetensors"
    before = weights.read_bytes()
    assert "it is what is read" in fails("export", NAME, weights, *SMALL, "--runs", runs, "--overwrite")
    assert weights.read_bytes() == before


@pytest.mark.parametrize("command", ["demo", "table"])
def test_table_and_demo_replace_their_own(
    segaware: Segaware, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise ValueError("work has begun")

    monkeypatch.setattr(f"segaware.cli.{command}.run_table", work)
    arguments = (command, *(["demo"] if command == "table" else []), "--out", tmp_path)
    path = tmp_path / ("demo.json" if command == "table" else "results.json")
    picture = tmp_path / ("demo.png" if command == "table" else "index.html")
    assert fails(*arguments) == "work has begun"
    picture.write_bytes(b"somebody's")
    assert f"{picture} is there already" in fails(*arguments)
    for foreign in (b"somebody's", b"[1]", b'{"table": "camvid"}', b"[" * 100_000):
        path.write_bytes(foreign)
        assert f"{path} is there already, and 1 more" in fails(*arguments)
        assert path.read_bytes() == foreign
    path.write_text(json.dumps({"table": "demo"}))
    assert fails(*arguments) == "work has begun"
    path.unlink()
    assert fails(*arguments, "--overwrite") == "work has begun"


def test_eval_looks_before_it_works_and_shows_before_it_writes(
    segaware: Segaware, fails: Fails, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = segaware("eval", NAME, *SMALL, "--runs", runs)
    assert scored.exit_code == 0, scored.output
    path = runs / NAME / "scores.json"
    first = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("segaware.cli.evaluate.write_json", full)
        result = segaware("eval", NAME, *SMALL, "--runs", runs)
        assert result.exit_code == 1 and "no space left on device" in result.stderr and "boundary" in result.stdout
    assert path.read_bytes() == first

    def work(*_: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr("segaware.cli.evaluate.evaluate_recipe", work)
    path.unlink()
    path.mkdir()
    assert "it is a folder" in fails("eval", NAME, *SMALL, "--runs", runs)
    weights = runs / NAME / "model.safetensors"
    (runs / "file").touch()
    line = fails("eval", NAME, *SMALL, "--runs", runs / "file", "--checkpoint", weights)
    assert line == f"cannot write into {runs / 'file' / NAME}: {runs / 'file'} is no folder"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total. See"),
         r"CUDA out of memory. Tried to allocate 2.00 GiB. What needs less: .*CUDA_VISIBLE_DEVICES= for the CPU"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
         r"out of memory \(.*\). What needs less: a smaller data.batch_size"),
        (MemoryError(), r"out of memory \(MemoryError\). What needs less"),
        (EOFError(), r"a file ends too early, or there is no input \(EOFError\); SEGAWARE_DEBUG=1 shows where"),
        (RuntimeError("mat1 and mat2"), "RuntimeError: mat1 and mat2; SEGAWARE_DEBUG=1 shows where"),
        (ArithmeticError("differs"), "differs"),
        (PermissionError(13, "Permission denied", "f"), "Permission denied: 'f'"),
    ],
)  # fmt: skip
def test_errors_of_libraries(
    segaware: Segaware, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("segaware.cli.train.train_recipe", broken)
    assert re.search(message, fails("train", NAME, "--runs", tmp_path))
    monkeypatch.setenv("SEGAWARE_DEBUG", "1")
    result = segaware("train", NAME, "--runs", tmp_path)
    assert result.exit_code == 1 and "Traceback" in result.stderr and "in broken" in result.stderr


def test_sigterm(runs: Path, photos: Path, tmp_path: Path) -> None:
    """What `finally` blocks do is done: no temporary file stays; and the handler of before is back."""
    code = (
        "import os, signal, sys\nfrom segaware.cli import main\nfrom segaware.data import images\n"
        "save = images.Image.Image.save\n"
        "def stop(image, path, format):\n"
        "    save(image, path, format)\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "images.Image.Image.save = stop\n"
        "try:\n    main.app()\n"
        "finally:\n    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
    )
    arguments = ["predict", photos, *SMALL, "--recipe", NAME, "--runs", runs, "--out", tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    told = "segaware: terminated; the files that are written are whole; --overwrite starts again\n"
    assert done.stderr.endswith(told) and "Traceback" not in done.stderr
    assert not _contents(tmp_path / "out")
