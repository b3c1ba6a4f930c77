"""The command `segaware compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.atomic import check_folder
from segaware.cli.options import DataRoot, Overrides, Overwrite, Runs, errors, read_recipe
from segaware.data import write_png
from segaware.experiments.comparison import draw_comparison, write_comparison
from segaware.outputs import check_outputs
from segaware.recipes.files import RecipeError


def compare(
    first: Annotated[str, typer.Argument(help="A recipe that a table has scored.")],
    second: Annotated[str, typer.Argument(help="Another one of that table.")],
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="The page to write, .html; or all in one picture, .png.")] = Path(
        "comparison.html"
    ),
    count: Annotated[int, typer.Option("--count", min=1, help="Images of each kind.")] = 3,
    reduce: Annotated[int, typer.Option("--reduce", min=1, help="Show every so many-th pixel.")] = 2,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    overwrite: Overwrite = False,
) -> None:
    """Draw the images on which the second recipe gains most over the first, then those on which it loses most."""
    with errors("nothing is written"):
        if out.suffix.lower() not in (".html", ".png"):
            raise RecipeError(f"--out must end in .html or .png, got {out}")
        check_outputs([out], overwrite=overwrite)
        check_folder(out)
        recipe, _ = read_recipe(first, overrides, runs)
        other, workspace = read_recipe(second, overrides, runs, data_root)
        what = (first, second), (recipe, other), workspace, count, reduce
        if out.suffix.lower() == ".png":
            write_png(out, draw_comparison(*what))
        else:
            write_comparison(out, *what)
        print(out)
