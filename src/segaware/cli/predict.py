"""The command `segaware predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from torch import nn

from segaware.cli.files import do_files
from segaware.cli.options import (
    WHOLE,
    Gpus,
    Overrides,
    Overwrite,
    Ray,
    RayWorkers,
    Runs,
    Weights,
    errors,
    only_cluster_of,
    read_recipe,
)
from segaware.cli.shards import do_shards
from segaware.cluster.shard_job import ShardJob
from segaware.cluster.shards import Column, is_shards
from segaware.data import IMAGE_SUFFIXES, files_by_stem
from segaware.experiments.predict_job import PredictJob
from segaware.experiments.run import load_network
from segaware.experiments.tasks import task_of
from segaware.experiments.tasks.segmentation.prediction import find_images, output_paths, prepare_output
from segaware.experiments.tasks.segmentation.prediction import predict as predict_images
from segaware.outputs import check_apart, check_outputs
from segaware.progress import progress
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe


def predict(
    source: Annotated[str, typer.Argument(help="An image, or a folder of images or shards; of shards a URL, too.")],
    overrides: Overrides = None,
    *,
    recipe: Annotated[str, typer.Option("--recipe", help="A trained segmentation recipe.")],
    out: Annotated[
        str, typer.Option("--out", help="Folder to write labels/ and pictures/ into, or shards with label.png.")
    ] = "predictions",
    runs: Runs = Path("runs"),
    checkpoint: Weights = None,
    ray: Ray = None,
    workers: RayWorkers = 1,
    gpus: Gpus = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write the label map of every image, and a picture of it beside the image."""
    with errors(WHOLE):
        values, workspace = read_recipe(recipe, overrides, runs)
        task = task_of(values)
        if task.name != "segmentation" or task.images != 1:
            raise RecipeError(f"{recipe} is of the {values.stage} stage; predict with a segmentation recipe")
        cluster, weights = only_cluster_of(ray, workers, gpus), checkpoint or workspace.weights(recipe)
        network, _ = load_network(recipe, values, weights)
        if is_shards(source):
            job = PredictJob(recipe, values, weights.absolute())
            do_shards(source, ShardJob(job, Column(None, "label"), out, ".png"), cluster, overwrite)
        elif cluster is not None:
            files = [
                (image, *output_paths(image, Path(out)))
                for image in files_by_stem(Path(source), IMAGE_SUFFIXES).values()
            ]
            do_files(files, PredictJob(recipe, values, weights), Path(out), cluster, overwrite)
        else:
            _predict_here(values, network, Path(source), Path(out), overwrite)


def _predict_here(values: Recipe, network: nn.Module, source: Path, out: Path, overwrite: bool) -> None:
    images, others = find_images(source)
    check_apart((out / "labels", out / "pictures"), images)
    check_outputs([path for image in images for path in output_paths(image, out)], images, overwrite)
    prepare_output(out)
    for _ in progress(predict_images(values, network, images, out), "predicting", "image", len(images)):
        pass
    for path in others:
        print(f"left out, not an image: {path}")
    print(f"{len(images)} images: {out / 'labels'}, {out / 'pictures'}")
