"""An `Args:` section has the parameters of its function or class in their order, and public names have one.

Ruff holds the form of docstrings, mypy that arguments have types. One line is enough where it says what arguments are.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

import segaware

PACKAGE = Path(segaware.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
Documented: TypeAlias = ast.FunctionDef | ast.ClassDef


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_arguments(file: Path) -> None:
    wrong = []
    for node, is_public in definitions(ast.parse(file.read_text(encoding="utf-8")), public_names(file)):
        docstring, names = ast.get_docstring(node) or "", parameters(node)
        described = documented(docstring)
        if described is None and not (is_public and names and "\n\n" in docstring):
            continue
        if described != names:
            wrong.append(f"line {node.lineno}, {node.name}: Args of {names}, got {described}")
    assert not wrong, "\n".join(wrong)


def test_that_something_is_checked() -> None:
    nodes = [node for file in FILES for node, _ in definitions(ast.parse(file.read_text(encoding="utf-8")), set())]
    assert sum(documented(ast.get_docstring(node) or "") is not None for node in nodes) > 200


def public_names(file: Path) -> set[str]:
    """Return the `__all__` of the packages that a file lies in."""
    inits = [folder / "__init__.py" for folder in file.parents if PACKAGE in (folder, *folder.parents)]
    texts = [re.search(r"^__all__ = (\[.*?\])", init.read_text(encoding="utf-8"), re.M | re.S) for init in inits]
    return {name for text in texts if text for name in ast.literal_eval(text[1])}


def definitions(tree: ast.Module, public: set[str]) -> Iterator[tuple[Documented, bool]]:
    """Yield functions, classes and their methods, and whether they are public."""
    for node in tree.body:
        if isinstance(node, Documented):
            yield node, node.name in public
            for member in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(member, ast.FunctionDef):
                    yield member, node.name in public and not member.name.startswith("_")


def parameters(node: Documented) -> list[str]:
    """Return the names of a function's parameters, or of those of a class's constructor, without the object itself."""
    if isinstance(node, ast.ClassDef):
        methods = {member.name: member for member in node.body if isinstance(member, ast.FunctionDef)}
        if "__init__" not in methods:  # that of another class, or made from fields
            return documented(ast.get_docstring(node) or "") or []
        return parameters(methods["__init__"])
    args = node.args
    names = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
    return [each.arg for each in names if each and each.arg not in ("self", "cls")]


def documented(docstring: str) -> list[str] | None:
    """Return the names in an `Args:` section, or None without one."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", docstring, re.M)
    return re.findall(r"^    \*{0,2}(\w+):", section[1], re.M) if section else None
