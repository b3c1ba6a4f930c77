"""The command `segaware train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import (
    Accelerator,
    DataRoot,
    DeviceCount,
    Nodes,
    Overrides,
    RecipeName,
    Runs,
    Strategy,
    TrainingPrecision,
    errors,
    read_recipe,
    with_precision,
)
from segaware.experiments.run import train as train_recipe
from segaware.training import Devices, launched


def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start afresh whatever the folder holds.")] = False,
    devices: DeviceCount = None,
    nodes: Nodes = None,
    strategy: Strategy = None,
    accelerator: Accelerator = "auto",
    precision: TrainingPrecision = None,
) -> None:
    """Train a recipe, or go on with it where it was interrupted."""
    chosen = Devices(devices, nodes, strategy, accelerator)
    with errors():
        values, workspace = read_recipe(recipe, with_precision(overrides, precision), runs, data_root)
        with launched(chosen):
            if overwrite or not workspace.weights(recipe).is_file():
                print(f"training {recipe} - {values.title}", flush=True)
            print(train_recipe(recipe, values, workspace, overwrite, chosen))
