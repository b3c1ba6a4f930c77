"""`segaware flow` on photographs, folders and videos."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from segaware.data.flow.files import read_flo, read_kitti_flow
from segaware.experiments.build import build_network
from segaware.recipes.files import load_recipe
from segaware.training import save_weights

RECIPE = "harley2017/table3/control"
SMALL = ("--recipe", RECIPE, "--set", "model.width=0.0625", "--set", "data.batch_size=2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network that has learnt nothing, but estimates flow of some pixels."""
    torch.manual_seed(0)
    recipe = load_recipe(RECIPE, ["model.width=0.0625"])
    network = build_network(recipe)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_weights(path, network, {"recipe": RECIPE, "values": recipe.model_dump(mode="json")})
    return path


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Three photographs of odd size."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / "photos" / f"photo{i}.png" for i in (8, 9, 10)]
    paths[0].parent.mkdir()
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (51, 70, 3), np.uint8)).save(path)
    return paths


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}


def _expected(*names: str) -> set[str]:
    return {file for name in names for file in (f"flo/{name}.flo", f"kitti/{name}.png", f"pictures/{name}.png")}


def test_two_photographs(segaware: Any, weights: Path, photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = segaware("flow", *photos[:2], *SMALL, "--checkpoint", weights, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"1 pairs of images: {out / 'flo'}, {out / 'kitti'}, {out / 'pictures'}\n"
    assert _files(out) == _expected("photo8")
    flow = read_flo(out / "flo/photo8.flo")
    kitti, valid = read_kitti_flow(out / "kitti/photo8.png")
    assert flow.shape == (51, 70, 2) and np.abs(flow - kitti)[valid].max() <= 1 / 128

    # The picture is enlarged three times: 210 columns of image, a gap of 8, 210 of flow.
    flow_of_picture = (slice(24, 24 + 3 * 51), slice(218, 428))
    assert (np.array(Image.open(out / "pictures/photo8.png"))[flow_of_picture] < 250).any()
    again = segaware("flow", *photos[:2], *SMALL, "--checkpoint", weights, "--out", out, "--max-norm", "1e6")
    assert again.exit_code == 0
    assert (np.array(Image.open(out / "pictures/photo8.png"))[flow_of_picture] >= 254).all()


def test_folder(segaware: Any, weights: Path, photos: list[Path], tmp_path: Path) -> None:
    (photos[0].parent / "notes.txt").touch()
    result = segaware("flow", photos[0].parent, *SMALL, "--checkpoint", weights, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert _files(tmp_path / "out") == _expected("photo8", "photo9")
    assert f"left out, not an image: {photos[0].parent / 'notes.txt'}\n2 pairs of images: " in result.stdout
    assert "2/2" in result.stderr  # the progress bar


def test_video(segaware: Any, weights: Path, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "street.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for i in range(4):
        writer.write(np.random.default_rng(i).integers(0, 256, (64, 96, 3), np.uint8))
    writer.release()
    result = segaware("flow", tmp_path / "street.avi", *SMALL, "--checkpoint", weights, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert _files(tmp_path / "out") == _expected(*(f"street_{i:06d}" for i in range(3)))
    assert result.stdout.startswith("3 pairs of images: ")

    whole = (tmp_path / "street.avi").read_bytes()
    (tmp_path / "part.avi").write_bytes(whole[: len(whole) * 3 // 4])
    result = segaware("flow", tmp_path / "part.avi", *SMALL, "--checkpoint", weights, "--out", tmp_path / "part")
    assert result.exit_code == 0 and "part.avi: its header says 4 frames, " in result.stdout


def test_bad_input(fails: Callable[..., str], weights: Path, photos: list[Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    options = (*SMALL, "--checkpoint", weights, *out)
    Image.new("RGB", (70, 50)).save(tmp_path / "smaller.png")
    line = fails("flow", photos[0], tmp_path / "smaller.png", *options)
    assert line == (
        f"frames must be of one size, got {photos[0]} of 70x51 pixels and {tmp_path / 'smaller.png'} of 70x50"
    )
    assert fails("flow", photos[0], *options) == f"flow needs at least two images, got {photos[0]}"
    assert (
        fails("flow", *photos, *options, "--max-norm", "0") == "max_norm must be a positive number of pixels, got 0.0"
    )
    embedding = fails("flow", *photos, "--recipe", "demo/embedding", *out)
    assert embedding == "demo/embedding is of the embedding stage; estimate flow with a flow recipe"
    missing = fails("flow", *photos, "--recipe", RECIPE, "--runs", tmp_path / "runs", *out)
    assert f"run `segaware train {RECIPE}` first" in missing
    assert "no weights at" in missing and f"runs/flying_voc/{RECIPE}" in missing  # of the table's first data set
    other = fails("flow", *photos, "--recipe", RECIPE, "--checkpoint", weights, *out)
    assert "they differ in model.width" in other
    assert "did you mean model.width" in fails("flow", *photos, *SMALL, "--set", "model.with=1", *out)
    assert not (tmp_path / "out").exists()


def test_ctrl_c(fails: Callable[..., str], weights: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segaware.cli.flow.predict_flow", stopped)
    line = fails("flow", *photos, *SMALL, "--checkpoint", weights, status=130)
    assert line == "interrupted; the files that are written are whole"
