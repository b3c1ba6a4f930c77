"""The command `segaware flow`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import Overwrite, Runs, Weights, errors, read_recipe
from segaware.data.flow.frames import open_frames
from segaware.experiments.run import load_network
from segaware.experiments.tasks import task_of
from segaware.experiments.tasks.flow.prediction import flow_paths, predict_flow
from segaware.outputs import check_apart, check_outputs
from segaware.progress import progress
from segaware.recipes.files import RecipeError


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
    """Write the flow from every image to the next: .flo, KITTI's PNG, and a picture of its colours.

    Where all three are there, an earlier call wrote them, and they are replaced; other files only with --overwrite.
    """
    with errors("the files that are written are whole"):
        values, workspace = read_recipe(recipe, overrides, runs)
        if task_of(values).name != "flow":
            raise RecipeError(f"{recipe} is of the {values.stage} stage; estimate flow with a flow recipe")
        network, _ = load_network(recipe, values, checkpoint or workspace.weights(recipe))
        frames = open_frames(sources)
        pairs = [flow_paths(name, out) for name in frames.names()]
        check_apart((out / "flo", out / "kitti", out / "pictures"), frames.files)
        own = {path for paths in pairs if all(path.is_file() for path in paths) for path in paths}
        check_outputs(own, frames.files, overwrite=True)
        check_outputs((path for paths in pairs for path in paths if path not in own), frames.files, overwrite)
        work = predict_flow(network, frames, out, max_norm)
        written = sum(1 for _ in progress(work, "estimating flow", "pair", len(frames)))
        for path in frames.left_out:
            print(f"left out, not an image: {path}")
        if written < len(frames):  # what is cut off a video is only found at its end
            print(f"{sources[0]}: its header says {len(frames) + 1} frames, {written + 1} could be decoded")
        print(f"{written} pairs of images: {out / 'flo'}, {out / 'kitti'}, {out / 'pictures'}")
