"""What griffe, which reads the docstrings for the reference, has to know of ours.

Figures of operators go under the first line of their docstrings, and a public name without a docstring is a warning,
with which `mkdocs build --strict` fails.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

FIGURES = Path(__file__).parent.parent / "figures/operators"
_logger = griffe.get_logger("segaware.reference")


class Docstrings(griffe.Extension):
    """Prepare the docstrings of every public name."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Prepare the package after it has been read."""
        for room in _rooms(pkg):
            for name in sorted(map(str, room.exports or ()), key=lambda name: room.members[name].is_module):
                _prepare(room, name)

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename a section: griffe takes `Examples` for code, and `Example` for prose."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")


def _rooms(package: griffe.Module) -> Iterator[griffe.Module]:
    """Yield the packages, the innermost first, for what they export is resolved first."""
    for member in list(package.modules.values()):
        if not member.is_alias and member.is_init_module:
            yield from _rooms(member)
    yield package


def _prepare(room: griffe.Module, name: str) -> None:
    if room.members[name].is_module and name in room.imports:
        # A function with the name of the module that it comes from: what Python finds is the function.
        room.set_member(name, griffe.Alias(name, room.modules_collection[room.imports[name]], parent=room))
    member = room.members[name]
    found = member.final_target if member.is_alias else member
    if not found.docstring:
        _logger.warning(f"{room.path}.{name} is public and has no docstring ({found.path})")
    elif (FIGURES / f"{name}.png").is_file() and f"{name}.png" not in found.docstring.value:
        summary, _, rest = found.docstring.value.partition("\n\n")
        figure = f"![What {name} does](../figures/operators/{name}.png)"
        found.docstring.value = f"{summary}\n\n{figure}\n\n{rest}"
