"""The command `segaware flow`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import Overwrite, Runs, Weights, errors, read_recipe
from segaware.data.flow.frames import open_frames
from segaware.progress import progress
from segaware.recipes.files import RecipeError
from segaware.recipes.flow_prediction import flow_paths, predict_flow
from segaware.recipes.outputs import check_apart, check_outputs
from segaware.recipes.run import load_network
from segaware.recipes.schema import FlowRecipe
from segaware.recipes.trained import weights_path


def flow(
    sources: Annotated[
        list[Path], typer.Argument(help="Two or more images, or a folder of images, or a video; of any size.")
    ],
    recipe: Annotated[str, typer.Option("--recipe", help="A trained flow recipe.")] = "harley2017/table3/segaware",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A change to the recipe, such as data=KEY; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write flo/, kitti/ and pictures/ into.")] = Path("flow"),
    max_norm: Annotated[
        float | None,
        typer.Option(
            "--max-norm",
            help="Pixels of flow that are drawn in full colour, in all pictures; the longest of each if not given.",
        ),
    ] = None,
    runs: Runs = Path("runs"),
    checkpoint: Weights = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the flow from every image to the next: .flo, KITTI's PNG, and a picture of its colours."""
    with errors("the files that are written are whole"):
        values, runs = read_recipe(recipe, overrides, runs)
        if not isinstance(values, FlowRecipe):
            raise RecipeError(f"{recipe} is of the {values.stage} stage; estimate flow with a flow recipe")
        network, _ = load_network(recipe, values, checkpoint or weights_path(runs, recipe))
        frames = open_frames(sources)
        outputs = [path for name in frames.names() for path in flow_paths(name, out)]
        check_apart((out / "flo", out / "kitti", out / "pictures"), frames.files)
        check_outputs(outputs, frames.files, overwrite)
        work = predict_flow(network, frames, out, max_norm)
        written = sum(1 for _ in progress(work, "estimating flow", "pair", len(frames)))
        for path in frames.left_out:
            print(f"left out, not an image: {path}")
        if written < len(frames):  # what is cut off a video is only found at its end
            print(f"{sources[0]}: its header says {len(frames) + 1} frames, {written + 1} could be decoded")
        print(f"{written} pairs of images: {out / 'flo'}, {out / 'kitti'}, {out / 'pictures'}")
