"""Predicting labels for images of any size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from segaware.data import (
    IMAGE_SUFFIXES,
    VOC_CLASSES,
    DataError,
    dataset,
    pack_voc_submission,
    read_image,
    write_png,
    write_voc_submission,
)
from segaware.data.folders import check_listed
from segaware.data.voc import read_voc_list, voc_folder
from segaware.data.voc_submission import submission_paths
from segaware.devices import default_device
from segaware.experiments.tasks import task_of
from segaware.outputs import check_outputs
from segaware.progress import progress
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe
from segaware.viz import overlay, side_by_side


def find_images(source: Path) -> tuple[list[Path], list[Path]]:
    """Return the images that `source` names, a file or a folder, and what else is in the folder.

    Every image is decoded once, so that a broken one is found before any work is done.

    Raises:
        DataError: If there is no such file or folder, no image in it, an image is broken, or two images would be
            written to the same file.
    """
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    entries = sorted(source.iterdir()) if source.is_dir() else [source]
    images = [path for path in entries if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DataError(f"{source}: no image (none of {', '.join(IMAGE_SUFFIXES)})")
    stems: dict[str, Path] = {}
    for path in images:
        if path.stem in stems:
            raise DataError(f"{stems[path.stem]} and {path} would be written to the same file; rename one")
        stems[path.stem] = path
        read_image(path)
    return images, [path for path in entries if path not in images]


def output_paths(image: Path, out: Path) -> tuple[Path, Path]:
    """Return the files of an image: its label map, and the picture."""
    return out / "labels" / f"{image.stem}.png", out / "pictures" / f"{image.stem}.png"


def prepare_output(out: Path) -> None:
    """Create the folders of a prediction.

    Raises:
        OSError: If they cannot be created or written.
    """
    for folder in (out / "labels", out / "pictures"):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"output folder {folder} is not writable")


@torch.inference_mode()
def predict_label(network: nn.Module, image: np.ndarray) -> np.ndarray:
    """Return the class of every pixel, uint8 (H, W), of an image uint8 RGB (H, W, 3)."""
    device = next(network.parameters()).device
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].to(device).float() / 255
    return network(batch)[0].argmax(0).to(torch.uint8).cpu().numpy()


def predict(recipe: Recipe, network: nn.Module, images: list[Path], out: Path) -> Iterator[Path]:
    """Predict images one by one, yielding each when its files are written.

    For an image NAME.jpg, `out/labels/NAME.png` is the label map, class indices with the data set's palette, and
    `out/pictures/NAME.png` shows the image beside the prediction.
    """
    network = network.to(default_device()).eval()
    for path in images:
        predict_image(recipe, network, path, *output_paths(path, out))
        yield path


def predict_image(recipe: Recipe, network: nn.Module, path: Path, labels: Path, picture: Path | None = None) -> None:
    """Write the label map of an image, and the picture if it is given a name."""
    palette = dataset(recipe.data.name).palette
    image = read_image(path)
    label = predict_label(network, image)
    write_png(labels, label, palette)
    if picture is not None:
        write_png(picture, side_by_side([("image", image), (recipe.title, overlay(image, label, palette))]))


def write_submission(recipe: Recipe, network: nn.Module, root: Path | None, out: Path, overwrite: bool = False) -> Path:
    """Predict the images of VOC's test list, and return the archive for its test server.

    Args:
        recipe: The recipe.
        network: Its trained network.
        root: Folder that holds the data sets.
        out: Folder to write results/ and results.tgz into.
        overwrite: Whether to replace files that are there.

    Raises:
        RecipeError: If the recipe does not segment VOC's 21 classes.
        DataError: If the list or an image is missing, or results of other images are there, before anything is done.
        FileExistsError: If results are there, and may not be replaced.
    """
    task = task_of(recipe)
    if task.name != "segmentation" or task.images != 1 or dataset(recipe.data.name).classes != VOC_CLASSES:
        raise RecipeError(f"a submission needs a segmentation recipe for VOC's 21 classes, got {recipe.title!r}")
    if root is None:
        raise DataError("VOC's test images are read from disk: pass --data-root FOLDER or set SEGAWARE_DATA=FOLDER")
    folder = voc_folder(root)
    names = read_voc_list(folder, "test")
    images = [folder / "JPEGImages" / f"{name}.jpg" for name in names]
    check_listed(images, "the list of test")
    outputs = [*submission_paths(out, names), out / "results.tgz"]
    check_outputs(outputs, images, overwrite)
    network = network.to(default_device()).eval()
    pairs = progress(zip(names, images, strict=True), "predicting", "image", len(names))
    labels = ((name, torch.from_numpy(predict_label(network, read_image(path)))) for name, path in pairs)
    write_voc_submission(labels, out, names)
    return pack_voc_submission(out, names)
