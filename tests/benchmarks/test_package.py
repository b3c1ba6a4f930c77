"""The benchmark is no part of the package."""

import re
from pathlib import Path

from setuptools import find_packages

SOURCE = Path(__file__).parents[2] / "src"


def test_the_package_has_no_benchmark() -> None:
    packages = find_packages(str(SOURCE))  # what pyproject.toml asks for
    assert "segaware.tuning" in packages
    assert not [name for name in packages if "bench" in name or not (name + ".").startswith("segaware.")]


def test_the_package_does_not_import_the_benchmark() -> None:
    imports = re.compile(r"^\s*(from|import) benchmarks\b", re.MULTILINE)
    assert not [path for path in SOURCE.rglob("*.py") if imports.search(path.read_text(encoding="utf-8"))]
