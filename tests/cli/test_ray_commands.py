"""`--ray` of the commands beside `segaware refine` on scores, each against the command without it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from segaware.data import read_image
from segaware.nn import ColorEmbedding
from tests.cli.test_commands import recipe
from tests.cli.test_refine_annotations import COLOR, folder
from tests.cli.test_refine_ray import ray_runs
from tests.cluster.shard_files import read_tar, write_tar

__all__ = ["folder", "ray_runs", "recipe"]  # fixtures


def with_ray(*command: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command with two actors, in a process of its own: pytest's path has libraries that actors must not have."""
    line = (
        sys.executable,
        "-c",
        "from segaware.cli.main import app; app()",
        *command,
        "--ray",
        "local",
        "--workers",
        "2",
    )
    return subprocess.run(list(map(str, line)), capture_output=True, text=True, timeout=250)


def shard(folder: Path) -> Path:
    """The photographs as a tar file."""
    samples = {path.stem: {"png": path.read_bytes()} for path in sorted((folder / "photos").iterdir())}
    (folder / "shards").mkdir()
    write_tar(folder / "shards" / "0.tar", samples)
    return folder / "shards"


def test_embed(segaware: Any, fails: Any, folder: Path) -> None:
    photos = folder / "photos"
    (photos / "c.png").write_bytes(b"no image")
    command = "embed", photos, "--embedding", "color", "--stride", "2", "--out"
    for suffix in (".npy", ".safetensors"):
        result = segaware(*command, folder / suffix, "--suffix", suffix)
        assert result.exit_code == 1 and "1 of 3 images have no output" in result.stderr
        assert {path.name for path in (folder / suffix).iterdir()} == {f"a{suffix}", f"b{suffix}", "failed.csv"}
    image = torch.from_numpy(read_image(photos / "a.png")).permute(2, 0, 1)[None].float() / 255
    wanted = ColorEmbedding()(image, 2)[0].numpy()
    np.testing.assert_array_equal(np.load(folder / ".npy" / "a.npy"), wanted)
    np.testing.assert_array_equal(load_file(folder / ".safetensors" / "a.safetensors")["embedding"], wanted)
    assert "must be one of .npy, .safetensors" in fails(*command, folder / "x", "--suffix", ".png")
    assert "--workers 2: is for --ray" in fails(*command, folder / "x", "--workers", "2")
    assert "it is the folder that is read" in fails(*command, photos)


@pytest.mark.usefixtures("ray_runs")
def test_embed_shards_with_ray(segaware: Any, folder: Path) -> None:
    assert segaware("embed", folder / "photos", "--out", folder / "local").exit_code == 0
    result = with_ray("embed", shard(folder), "--out", folder / "out")
    assert result.returncode == 0, result.stderr
    made = read_tar(folder / "out" / "0.tar")
    assert made == {f"{n}.embedding.npy": (folder / "local" / f"{n}.npy").read_bytes() for n in "abc"}


@pytest.mark.usefixtures("ray_runs")
@pytest.mark.parametrize("kind", ["instances", "panoptic"])
def test_annotations_with_ray(segaware: Any, folder: Path, kind: str) -> None:
    (folder / "photos" / "c.png").write_bytes(b"no image")
    command = "refine", folder / "photos", folder / f"{kind}.json", *COLOR, "--out"
    (folder / "here").mkdir()
    assert segaware(*command, folder / "here" / "out.json").exit_code == 1
    result = with_ray(*command, folder / "there" / "out.json")
    assert result.returncode == 1 and "1 of 3 images keep their annotations" in result.stderr
    files = [{p.relative_to(d): p.read_bytes() for p in d.rglob("*.*")} for d in (folder / "here", folder / "there")]
    assert files[0] == files[1] and len(files[0]) == (2 if kind == "instances" else 5)


@pytest.mark.usefixtures("ray_runs")
def test_predict_with_ray(segaware: Any, folder: Path, recipe: Path, camvid: Path) -> None:
    runs = "--recipe", recipe, "--runs", folder / "runs"
    assert segaware("train", recipe, "--data-root", camvid, "--runs", folder / "runs").exit_code == 0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as an actor
    try:
        assert segaware("predict", folder / "photos", *runs, "--out", folder / "local").exit_code == 0
    finally:
        torch.set_num_threads(threads)
    result = with_ray("predict", folder / "photos", *runs, "--out", folder / "out")
    assert result.returncode == 0, result.stderr
    local, out = (
        {p.relative_to(d): p.read_bytes() for p in d.rglob("*.png")} for d in (folder / "local", folder / "out")
    )
    assert local == out and len(out) == 6
    assert with_ray("predict", shard(folder), *runs, "--out", folder / "shards-out").returncode == 0
    made = read_tar(folder / "shards-out" / "0.tar")
    assert made == {f"{n}.label.png": (folder / "local" / "labels" / f"{n}.png").read_bytes() for n in "abc"}
