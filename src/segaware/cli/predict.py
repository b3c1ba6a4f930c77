"""The command `segaware predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import WHOLE, Overrides, Overwrite, Runs, Weights, errors, read_recipe
from segaware.experiments.run import load_network
from segaware.experiments.tasks import task_of
from segaware.experiments.tasks.segmentation.prediction import find_images, output_paths, prepare_output
from segaware.experiments.tasks.segmentation.prediction import predict as predict_images
from segaware.outputs import check_apart, check_outputs
from segaware.progress import progress
from segaware.recipes.files import RecipeError


def predict(
    source: Annotated[Path, typer.Argument(help="An image or a folder of images, of any size.")],
    overrides: Overrides = None,
    *,
    recipe: Annotated[str, typer.Option("--recipe", help="A trained segmentation recipe.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write labels/ and pictures/ into.")] = Path(
        "predictions"
    ),
    runs: Runs = Path("runs"),
    checkpoint: Weights = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the label map of every image, and a picture of it beside the image."""
    with errors(WHOLE):
        values, workspace = read_recipe(recipe, overrides, runs)
        task = task_of(values)
        if task.name != "segmentation" or task.images != 1:
            raise RecipeError(f"{recipe} is of the {values.stage} stage; predict with a segmentation recipe")
        network, _ = load_network(recipe, values, checkpoint or workspace.weights(recipe))
        images, others = find_images(source)
        check_apart((out / "labels", out / "pictures"), images)
        check_outputs([path for image in images for path in output_paths(image, out)], images, overwrite)
        prepare_output(out)
        for _ in progress(predict_images(values, network, images, out), "predicting", "image", len(images)):
            pass
        for path in others:
            print(f"left out, not an image: {path}")
        print(f"{len(images)} images: {out / 'labels'}, {out / 'pictures'}")
