"""Recipe and table files: finding, reading and overriding them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from segaware.recipes.names import SUFFIXES, run_name
from segaware.recipes.schema import Recipe, Table, TableData
from segaware.recipes.stages import STAGES
from segaware.recipes.yaml_text import parse_yaml

_MAX_BYTES = 10**6  # of a file; recipes have a few thousand
_MAX_SHOWN = 200  # characters of a value in an error


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


def load_recipe(name: str, overrides: Sequence[str] = (), data: str | None = None) -> Recipe:
    """Read the recipe `name`, one of `recipe_names()` or the path of a YAML file, with `key=value` overrides.

    A file with `base: NAME` (or the path of a YAML file, seen from its own folder) says only what differs from that
    recipe: sections are merged key by key, everything else is replaced.

    Args:
        name: Name or path.
        overrides: Changes such as "train.epochs=3"; the value is YAML.
        data: Key of the data set whose changes, as the table in the recipe's folder has them, come before the
            overrides; None takes the table's first. Without a table, or one without data sets, nothing is changed.

    Raises:
        RecipeError: If there is no such recipe, base or data set, or a key or value in it or in an override is wrong.
            The message names the nearest known one.
    """
    path = _find(name, Path())
    if path is None:
        raise RecipeError(f"unknown recipe {name!r}: {_did_you_mean(name, recipe_names())}")
    values = _read_recipe(path)
    chosen = _chosen_data(recipe_folder(name), data)
    for pattern, changes in chosen.changes.items() if chosen else ():
        if fnmatchcase(name, pattern):
            _change(values, changes)
    for override in overrides:
        _apply_override(values, override)
    return _validated(name, values)


def recipe_folder(name: str) -> str:
    """Return the folder of a recipe that comes with segaware, which is the name of its table; "" for a file."""
    return "" if name.endswith(SUFFIXES) else name.rpartition("/")[0]


def choose_data(folder: str, overrides: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take `data=KEY`, the choice among the data sets of a folder's table, out of overrides.

    Args:
        folder: Folder of the recipe, or name of the table.
        overrides: Overrides, with at most one such choice that counts, the last.

    Returns:
        The key: without a choice the table's first, and None where there is no table or it has no data sets. And the
        other overrides.

    Raises:
        RecipeError: If the table has no data set of that name.
    """
    key, others = next(iter(_known_data(folder)), None), []
    for override in overrides:
        name, _, value = (part.strip() for part in override.partition("="))
        if key is not None and name == "data" and not value.startswith("{"):  # {...} is a section of a recipe
            _chosen_data(folder, value)
            key = value
        else:
            others.append(override)
    return key, others


def has_key(recipe: Recipe, override: str) -> bool:
    """Tell whether the key of an override is one of this recipe's."""
    values: Any = recipe.model_dump()
    for part in override.partition("=")[0].strip().split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def load_table(name: str) -> Table:
    """Read the table `name`, one of `table_names()` or the path of a YAML file.

    Rows of a file that are recipe files are named as seen from its folder.

    Args:
        name: Name or path.

    Raises:
        RecipeError: If there is no such table, or a key or value in it is wrong.
    """
    is_file = name.endswith(SUFFIXES)
    path = Path(name) if is_file else _root() / name / "table.yaml"
    if not (path.is_file() if is_file else name in table_names()):  # a name is no path: nothing else is read
        raise RecipeError(f"unknown table {name!r}: {_did_you_mean(name, table_names())}")
    try:
        table = Table.model_validate(_read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"table {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if not is_file:
        return table
    if table.data:
        raise RecipeError(f"table {name}: data: only tables that come with segaware have other data sets")
    rows = {row: str(path.parent / row) if row.endswith(SUFFIXES) else row for row in table.rows}
    if len({run_name(row) for row in rows.values()}) < len(table.rows):
        raise RecipeError(f"table {name}: rows: two of them would have the same run folder: {', '.join(table.rows)}")
    shown = None if table.figure is None else tuple(rows.get(row, row) for row in table.figure)
    control = rows.get(table.control, table.control)
    return table.model_copy(update={"rows": tuple(rows.values()), "figure": shown, "control": control})


def _known_data(folder: str) -> dict[str, TableData]:
    return load_table(folder).data if folder in table_names() else {}


def _chosen_data(folder: str, key: str | None) -> TableData | None:
    known = _known_data(folder)
    if key is None or not known:
        return next(iter(known.values()), None)
    if key not in known:
        raise RecipeError(f"unknown data={key} for the table {folder}: there are {', '.join(known)}")
    return known[key]


def _find(name: str, folder: Path) -> Path | None:
    """Return the file of a recipe that comes with segaware, or of a path seen from a folder; None if there is none."""
    if not name.endswith(SUFFIXES):
        return _root() / f"{name}.yaml" if name in recipe_names() else None
    path = folder / name
    return path if path.is_file() else None


def _read_recipe(path: Path, built_on: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the values of a recipe file, laid over those of its base.

    Args:
        path: The file.
        built_on: The files whose base it is, the first first.
    """
    path = path.resolve()
    if path in built_on:
        raise RecipeError(f"{path}: base: the files {', '.join(str(p) for p in built_on)} build on one another")
    values = _read_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    below = _find(base, path.parent) if isinstance(base, str) else None
    if below is None:
        raise RecipeError(f"{path}: unknown base {base!r}: {_did_you_mean(str(base), recipe_names())}")
    return _merged(_read_recipe(below, (*built_on, path)), values)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _merged(below[key], value) if _goes_on_with(below.get(key), value) else value
    return merged


def _change(values: dict[str, Any], changes: dict[str, Any]) -> None:
    """Change what a recipe has; sections and keys that it does not have, or has as null, it does not get."""
    for key in values.keys() & changes.keys():
        if _goes_on_with(values[key], changes[key]):
            _change(values[key], changes[key])
        elif not (isinstance(changes[key], dict) and values[key] is None):
            values[key] = changes[key]


def _goes_on_with(below: Any, above: Any) -> bool:
    """Tell whether a value is a section that is merged with the one below it: not one of another `type`."""
    return isinstance(below, dict) and isinstance(above, dict) and above.get("type") in (None, below.get("type"))


def read_stored_recipe(path: Path) -> dict[str, Any]:
    """Return the values in the `recipe.yaml` of a run folder.

    Raises:
        RecipeError: If it is damaged.
        OSError: If it cannot be opened.
    """
    try:
        return _read_yaml(path)
    except RecipeError as error:
        raise RecipeError(
            f"{error}; it no longer says what {path.parent} holds: pass --overwrite to train afresh, or another --runs"
        ) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_BYTES:
        raise RecipeError(f"{path} is not YAML of a recipe: it has more than {_MAX_BYTES} bytes")
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of characters that are not UTF-8 too
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must hold keys and values, got {type(values).__name__}")
    return values


def _shown(value: Any) -> str:
    """Return a value as an error shows it, not at any length."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"an override must read key=value, got {_shown(override)}")
    *path, last = key.strip().split(".")
    section: Any = values
    for i, part in enumerate([*path, last]):
        if not isinstance(section, dict):
            raise RecipeError(
                f"unknown key {key!r} in an override: {'.'.join(path[:i])} is {_shown(section)}, not a section"
            )
        if part not in section:
            known = [".".join([*path[:i], k]) for k in section]
            raise RecipeError(f"unknown key {key!r} in an override: {_did_you_mean(key, known)}")
        if i < len(path):
            section = section[part]
    try:
        section[last] = parse_yaml(text)
    except ValueError as error:
        raise RecipeError(f"the value of override {_shown(override)} is not YAML: {error}") from error


def _validated(name: str, values: dict[str, Any]) -> Recipe:
    stage = values.get("stage")
    if stage not in STAGES:
        raise RecipeError(f"recipe {name}: 'stage' must be one of {', '.join(STAGES)}, got {_shown(stage)}")
    try:
        return STAGES[stage].model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place, section = _place(STAGES[stage], first["loc"])
        key = ".".join(place)
        if first["type"] == "extra_forbidden":
            known = [".".join([*place[:-1], name]) for name in section.model_fields if name != "type"]
            near = _did_you_mean(key, known)
            if "type" in section.model_fields:
                (kind,) = get_args(section.model_fields["type"].annotation)
                near = f"type {kind} has {', '.join(known) or 'no keys'}"
            raise RecipeError(f"recipe {name}: unknown key {key!r}: {near}") from error
        if first["type"] == "union_tag_not_found":
            raise RecipeError(f"recipe {name}: {key}.type: Field required") from error
        about_key = first["type"] == "missing" or first["type"].startswith("union_tag")
        given = "" if about_key else f", got {_shown(first['input'])}"
        raise RecipeError(f"recipe {name}: {key}: {first['msg']}{given}") from error


def _place(section: type[BaseModel], parts: Sequence[int | str]) -> tuple[list[str], type[BaseModel]]:
    """Return the keys that lead to an error, without the types that pydantic puts in, and its section."""
    place: list[str] = []
    options: dict[str | None, type[BaseModel]] = {}
    for part in map(str, parts):
        if part in options:
            section, options = options[part], {}
            continue
        place.append(part)
        options = _sections(section.model_fields[part].annotation if part in section.model_fields else None)
        section = next(iter(options.values()), section)
    return place, section


def _sections(annotation: Any) -> dict[str | None, type[BaseModel]]:
    """Return the sections in a union such as "SGD | AdamW", by their `type`, if any."""
    return {
        get_args(option.model_fields["type"].annotation)[0] if "type" in option.model_fields else None: option
        for option in (annotation, *get_args(annotation))
        if isinstance(option, type) and issubclass(option, BaseModel)
    }
