"""Labels for images of any size."""

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segaware.data import DataError, dataset
from segaware.experiments.build import build_network
from segaware.experiments.tasks.segmentation.prediction import (
    find_images,
    predict,
    predict_label,
    prepare_output,
    write_submission,
)
from segaware.recipes.files import RecipeError, load_recipe

from .tiny_recipes import tiny

SIZES = {"tiny": (7, 9), "odd": (33, 47), "larger": (100, 141), "pixel": (1, 1)}  # height, width


def _write_image(path: Path, size: tuple[int, int], seed: int = 0) -> None:
    """Write noise that is red on the left and blue on the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    pixels[:, : size[1] // 2, 2] = pixels[:, size[1] // 2 :, 0] = 0
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for seed, (name, size) in enumerate(SIZES.items()):
        _write_image(folder / f"{name}.png", size, seed)
    return folder


def _predict(network: nn.Module, source: Path, out: Path) -> list[Path]:
    recipe: Any = tiny("demo/segaware")
    images, _ = find_images(source)
    prepare_output(out)
    return list(predict(recipe, network, images, out))


def test_labels_are_the_network_s(network: nn.Module, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _predict(network, photos, out) == [photos / f"{name}.png" for name in sorted(SIZES)]
    network.eval()
    palette = dataset("scenes").palette
    for name, (height, width) in SIZES.items():
        with Image.open(out / "labels" / f"{name}.png") as label:
            assert (label.mode, label.size) == ("P", (width, height))
            assert label.getpalette() == palette.flatten().tolist()
            values = np.array(label)
        pixels = torch.from_numpy(np.array(Image.open(photos / f"{name}.png"))).float() / 255
        with torch.no_grad():
            scores = network(pixels.permute(2, 0, 1)[None])[0]
        assert np.array_equal(values, scores.argmax(0).numpy())
        if name == "larger":
            assert len(np.unique(values)) > 1
        with Image.open(out / "pictures" / f"{name}.png") as picture:
            assert picture.mode == "RGB" and picture.width >= 2 * width and picture.height >= height
    assert {path.name for path in out.rglob("*.*")} == {f"{name}.png" for name in SIZES}


def test_one_file_in_gray(network: nn.Module, tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30), 100, np.uint8)).save(tmp_path / "gray.JPG")
    assert _predict(network, tmp_path / "gray.JPG", tmp_path / "out") == [tmp_path / "gray.JPG"]
    assert Image.open(tmp_path / "out/labels/gray.png").size == (30, 20)


def test_what_is_left_out_is_told(photos: Path) -> None:
    (photos / "notes.txt").touch()
    (photos / "no_suffix").touch()
    (photos / "more.jpg").mkdir()
    images, others = find_images(photos)
    assert images == [photos / f"{name}.png" for name in sorted(SIZES)]
    assert others == [photos / "more.jpg", photos / "no_suffix", photos / "notes.txt"]


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        find_images(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"empty: no image \(none of .bmp, "):
        find_images(empty)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"notes.txt: no image"):
        find_images(tmp_path / "notes.txt")


def test_broken_image_is_found_first(photos: Path) -> None:
    whole = (photos / "larger.png").read_bytes()
    (photos / "zebra.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"zebra.png: cannot be decoded as an image"):
        find_images(photos)


def test_two_images_of_one_name(photos: Path) -> None:
    _write_image(photos / "odd.bmp", (5, 5))
    with pytest.raises(DataError, match=r"odd.bmp and .*odd.png would be written to the same file; rename one"):
        find_images(photos)


def test_output_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=r"output folder .*out/labels is not writable"):
        prepare_output(tmp_path / "out")
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/labels"):
        prepare_output(tmp_path / "file")


def test_submission_holds_the_test_images_of_voc(tmp_path: Path) -> None:
    recipe = load_recipe("harley2017/table1/control", ["model.width=0.0625"])
    network = build_network(recipe)
    for name, size in SIZES.items():
        _write_image(tmp_path / "voc/JPEGImages" / f"{name}.jpg", size)
    (tmp_path / "voc/ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "voc/ImageSets/Segmentation/test.txt").write_text("odd\ntiny\n")
    archive = write_submission(recipe, network, tmp_path, tmp_path / "out")
    with tarfile.open(archive) as files:
        found = {Path(name).name for name in files.getnames() if name.endswith(".png")}
    assert found == {"odd.png", "tiny.png"}
    label = np.array(Image.open(tmp_path / "out/results/VOC2012/Segmentation/comp6_test_cls/odd.png"))
    image = np.array(Image.open(tmp_path / "voc/JPEGImages/odd.jpg"))
    assert np.array_equal(label, predict_label(network.eval(), image))


def test_submission_that_cannot_be(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="for VOC's 21 classes, got 'segmentation-aware"):
        write_submission(tiny("demo/segaware"), network, tmp_path, tmp_path / "out")
    recipe = load_recipe("harley2017/table1/control")
    with pytest.raises(DataError, match="pass --data-root"):
        write_submission(recipe, network, None, tmp_path / "out")
    (tmp_path / "voc/ImageSets/Segmentation").mkdir(parents=True)
    with pytest.raises(DataError, match=r"test\.txt: no such file"):
        write_submission(recipe, network, tmp_path, tmp_path / "out")
    (tmp_path / "voc/ImageSets/Segmentation/test.txt").write_text("one\n")
    with pytest.raises(DataError, match=r"one\.jpg: no such file, but the list of test names it; 1 are missing"):
        write_submission(recipe, network, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
