"""Recipe files: finding, reading and overriding them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from segaware.recipes.schema import RECIPE, EmbeddingRecipe, Recipe, SegmentationRecipe, Table


class RecipeError(ValueError):
    """A recipe, or what was asked of it, is wrong."""


def _root() -> Path:
    return Path(str(resources.files("segaware.recipes")))


def recipe_names() -> list[str]:
    """Return the names of all recipes that come with segaware, such as "camvid/baseline"."""
    files = sorted(_root().rglob("*.yaml"))
    return [str(f.relative_to(_root()).with_suffix("")) for f in files if f.name != "table.yaml"]


def table_names() -> list[str]:
    """Return the names of all tables of recipes, such as "camvid"."""
    return [str(f.parent.relative_to(_root())) for f in sorted(_root().rglob("table.yaml"))]


def _did_you_mean(given: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe `name`, one of `recipe_names()` or the path of a YAML file, with `key=value` overrides.

    Args:
        name: Name or path.
        overrides: Changes such as "train.epochs=3"; the value is YAML.

    Raises:
        RecipeError: If there is no such recipe, or a key or value in it or in an override is wrong. The message names
            the nearest known one.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else _root() / f"{name}.yaml"
    if not path.is_file() or (path.name == "table.yaml" and path.is_relative_to(_root())):
        raise RecipeError(f"unknown recipe {name!r}: {_did_you_mean(name, recipe_names())}")
    values = _read_yaml(path)
    for override in overrides:
        _apply_override(values, override)
    return _validated(name, values)


def load_table(name: str) -> Table:
    """Read the table `name`, one of `table_names()`.

    Raises:
        RecipeError: If there is no such table.
    """
    path = _root() / name / "table.yaml"
    if not path.is_file():
        raise RecipeError(f"unknown table {name!r}: {_did_you_mean(name, table_names())}")
    return Table.model_validate(_read_yaml(path))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must hold keys and values, got {type(values).__name__}")
    return values


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"an override must read key=value, got {override!r}")
    *path, last = key.strip().split(".")
    section: Any = values
    for i, part in enumerate([*path, last]):
        if not isinstance(section, dict):
            raise RecipeError(f"unknown key {key!r} in an override: {'.'.join(path[:i])} is {section!r}, not a section")
        if part not in section:
            known = [".".join([*path[:i], k]) for k in section]
            raise RecipeError(f"unknown key {key!r} in an override: {_did_you_mean(key, known)}")
        if i < len(path):
            section = section[part]
    try:
        section[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"the value of override {override!r} is not YAML: {error}") from error


def _validated(name: str, values: dict[str, Any]) -> Recipe:
    try:
        return RECIPE.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        # The discriminator, "embedding" or "segmentation", is the first part of the place.
        place = [str(part) for part in first["loc"][1:]]
        if first["type"] == "extra_forbidden":
            section = _section_at(str(first["loc"][0]), place[:-1])
            known = [".".join([*place[:-1], key]) for key in section.model_fields]
            raise RecipeError(
                f"recipe {name}: unknown key {'.'.join(place)!r}: {_did_you_mean('.'.join(place), known)}"
            ) from error
        about_key = first["type"] == "missing" or first["type"].startswith("union_tag")
        given = "" if about_key else f", got {first['input']!r}"
        raise RecipeError(f"recipe {name}: {'.'.join(place) or 'stage'}: {first['msg']}{given}") from error


def _section_at(stage: str, place: Sequence[str]) -> type[BaseModel]:
    section: type[BaseModel] = EmbeddingRecipe if stage == "embedding" else SegmentationRecipe
    for part in place:
        annotation = section.model_fields[part].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]  # "Embedding | None" too
        section = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return section
