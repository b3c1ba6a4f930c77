"""The `segaware` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.recipes.files import load_recipe
from segaware.recipes.run import train as train_recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

DataRoot = Annotated[
    Path | None, typer.Option("--data-root", envvar="SEGAWARE_DATA", help="Folder that holds the data sets.")
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder with a folder per trained recipe.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Changes to the recipe, such as train.epochs=3.")]


@app.command()
def train(
    recipe: str,
    overrides: Overrides = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    overwrite: Annotated[bool, typer.Option(help="Start afresh whatever the folder holds.")] = False,
) -> None:
    """Train a recipe, or go on with it where it was interrupted."""
    print(train_recipe(recipe, load_recipe(recipe, overrides or ()), runs, data_root, overwrite))


@app.command()
def doctor() -> None:
    """Say what is installed and what can run here."""
