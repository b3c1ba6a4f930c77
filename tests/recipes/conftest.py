"""Trainings that several tests look at."""

from pathlib import Path

import pytest

from segaware.recipes.run import train

from .tiny_recipes import tiny


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with trained tiny recipes demo/baseline, demo/embedding and demo/segaware. Do not write to it."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    for name in ("demo/baseline", "demo/embedding", "demo/segaware"):
        train(name, tiny(name), folder, None)
    return folder
