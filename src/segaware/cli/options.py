"""What commands share: their common arguments, the recipe these name, and how errors are told."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from segaware.data import DataError
from segaware.recipes.files import RecipeError, choose_data, load_recipe, recipe_folder
from segaware.recipes.schema import Recipe

DataRoot = Annotated[
    Path | None, typer.Option("--data-root", envvar="SEGAWARE_DATA", help="Folder that holds the data sets' folders.")
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder with a folder for every trained recipe.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Changes to the recipe, such as train.epochs=3.")]
RecipeName = Annotated[str, typer.Argument(help="A name from `segaware recipes`, or a YAML file.")]
Weights = Annotated[
    Path | None, typer.Option("--checkpoint", help="Weights file; the recipe's own in --runs if not given.")
]


@contextmanager
def errors(interrupted: str = "the same command goes on from the last checkpoint") -> Iterator[None]:
    """Turn what a user can mend into one line and exit status 1.

    Args:
        interrupted: What to say after Ctrl-C.
    """
    try:
        yield
    except (RecipeError, DataError, FloatingPointError, MemoryError, ModuleNotFoundError, OSError, ValueError) as error:
        print("segaware:", " ".join(str(error).split()), file=sys.stderr)  # some libraries' messages have many lines
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print(f"segaware: interrupted; {interrupted}", file=sys.stderr)
        raise typer.Exit(130) from None


def read_recipe(recipe: str, overrides: Sequence[str] | None, runs: Path) -> tuple[Recipe, Path]:
    """Return a recipe, and the folder of the runs of its data set: that of its table which `data=` has chosen."""
    data, others = choose_data(recipe_folder(recipe), overrides or ())
    return load_recipe(recipe, others, data), runs if data is None else runs / data
