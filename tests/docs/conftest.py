"""What the tests of the pages share."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load_script() -> Callable[[str], ModuleType]:
    """Return a function that imports a file of docs/ by its path there."""

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / "docs" / path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def generate(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("generate.py")
