"""YAML of recipes and overrides: plain values, of a size that makes sense."""

from __future__ import annotations

from typing import Any

import yaml

_MAX_DEPTH, _MAX_VALUES = 20, 10_000  # a recipe has a depth of 3 and a hundred values
_TAG = "tag:yaml.org,2002:"
_KINDS = ("null", "bool", "int", "float", "str", "seq", "map")


class _Loader(yaml.SafeLoader):
    """Knows the values that JSON has, so that a date is text; and a key stands once, and is text."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} comes twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in _KINDS
}


def parse_yaml(text: str) -> Any:
    """Return the value that a text says in YAML: None, a bool, number or text, or lists and dicts of them.

    Raises:
        ValueError: If it says none, one of another kind, a key twice, or one that is nested too deeply or too large,
            with its aliases in place.
    """
    try:
        _check_size(text)
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _check_size(text: str) -> None:
    """Count values before any is made: an alias is a short word for all values that it stands for."""
    counts: dict[str | None, int] = {}  # values behind every anchor
    open_: list[tuple[str | None, int]] = []  # lists and mappings that have begun: anchor, and the count before
    count = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in counts:
                raise ValueError(f"the alias *{event.anchor} stands for nothing, or for what it is part of")
            count += counts[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            counts[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            counts[anchor] = count - before
        if len(open_) > _MAX_DEPTH or count > _MAX_VALUES:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep, or has more than {_MAX_VALUES} values")
