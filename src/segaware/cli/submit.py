"""The command `segaware submit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import WHOLE, DataRoot, Overrides, Overwrite, RecipeName, Runs, Weights, errors, read_recipe
from segaware.experiments.run import load_network
from segaware.experiments.tasks.segmentation.prediction import write_submission


def submit(
    recipe: RecipeName,
    overrides: Overrides = None,
    *,
    data_root: DataRoot = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write results.tgz into.")] = Path("submission"),
    runs: Runs = Path("runs"),
    checkpoint: Weights = None,
    overwrite: Overwrite = False,
) -> None:
    """Predict VOC 2012's test images, and pack the archive that its test server takes."""
    with errors(WHOLE):
        values, workspace = read_recipe(recipe, overrides, runs, data_root)
        network, _ = load_network(recipe, values, checkpoint or workspace.weights(recipe))
        print(write_submission(values, network, data_root, out, overwrite))
