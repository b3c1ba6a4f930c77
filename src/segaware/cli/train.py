"""The command `segaware train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import DataRoot, Overrides, RecipeName, Runs, errors, read_recipe
from segaware.experiments.run import train as train_recipe


def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start afresh whatever the folder holds.")] = False,
) -> None:
    """Train a recipe, or go on with it where it was interrupted."""
    with errors():
        values, workspace = read_recipe(recipe, overrides, runs, data_root)
        if overwrite or not workspace.weights(recipe).is_file():
            print(f"training {recipe} - {values.title}", flush=True)
        print(train_recipe(recipe, values, workspace, overwrite))
