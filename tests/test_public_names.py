"""Every public name and its signature, as the source has it, is in tests/public_names.txt, so none changes by chance.

`python tests/test_public_names.py` writes the file anew. Its differences belong in CHANGELOG.md.
"""

import ast
import difflib
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import segaware

INVENTORY = Path(__file__).with_name("public_names.txt")


def test_public_names() -> None:
    before, now = INVENTORY.read_text(encoding="utf-8").splitlines(), inventory()
    differences = list(difflib.unified_diff(before, now, INVENTORY.name, "this source", lineterm="", n=0))
    assert not differences, "\n".join([f"if this is meant, run python tests/{Path(__file__).name}:", *differences])


def inventory() -> list[str]:
    """Return a line for every public name of every package that has `__all__`, and for what its classes offer."""
    packages = [module.name for module in pkgutil.walk_packages(segaware.__path__, "segaware.") if module.ispkg]
    homes: dict[int, str] = {}
    lines: list[str] = []
    for room in (*sorted(packages), "segaware"):
        names = getattr(module := importlib.import_module(room), "__all__", ())
        for name in sorted(names):
            value, full = getattr(module, name), f"{room}.{name}"
            home = homes.setdefault(id(value), full) if inspect.isclass(value) or inspect.isfunction(value) else full
            lines += described(value, full) if home == full else [f"{full} is {home}"]
    return lines


def described(value: Any, name: str) -> Iterator[str]:
    """Yield the lines of a class, a function, or whatever else it is."""
    if inspect.isclass(value):
        yield f"class {name}"
        bases = [base for base in value.__mro__ if base.__module__.startswith("segaware.")]
        members = {re.split("[(:]", line)[0]: line for base in reversed(bases) for line in offered(definition(base))}
        yield from (f"{name}.{line}" for _, line in sorted(members.items()))
    elif inspect.isfunction(value):
        yield f"{name}{signature(definition(value))}"
    else:  # a constant, or a type by another name
        yield f"{name}: {value}" if "Literal" in str(value) else name


def offered(definition: ast.ClassDef) -> Iterator[str]:
    """Yield the constructor, the public methods and properties, and the annotated fields of a class."""
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
            kinds = [kind for kind in map(ast.unparse, node.decorator_list) if kind in ("property", "classmethod")]
            yield node.name + signature(node) + "".join(f" [{kind}]" for kind in kinds)
        elif isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
            yield ast.unparse(node)


def signature(function: ast.FunctionDef) -> str:
    returns = "" if function.returns is None else f" -> {ast.unparse(function.returns)}"
    return f"({ast.unparse(function.args)}){returns}"


def definition(value: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]


if __name__ == "__main__":
    INVENTORY.write_text("\n".join(inventory()) + "\n", encoding="utf-8")
