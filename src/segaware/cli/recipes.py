"""The command `segaware recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from segaware.cli.options import Overrides, errors, read_recipe
from segaware.recipes.files import load_recipe, recipe_names, table_names


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe with all its values.")] = None,
    overrides: Overrides = None,
) -> None:
    """List the recipes and tables, or print one recipe."""
    with errors():
        if name is not None:
            values, _ = read_recipe(name, overrides, Path())
            print(yaml.safe_dump(values.model_dump(mode="json"), sort_keys=False), end="")
            return
        listed = {recipe: load_recipe(recipe) for recipe in recipe_names()}
        names, titles = max(map(len, listed)), max(len(values.title) for values in listed.values())
        for recipe, values in listed.items():
            published = getattr(values, "published", None)
            paper = "" if published is None else f"{published:.2f} in the paper"
            print(f"{recipe:{names}}  {values.title:{titles}}  {paper}".rstrip())
        print(f"\ntables (segaware table NAME): {', '.join(table_names())}")
