"""The command as a user runs it, and a tiny CamVid to run it on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from segaware.cli.main import app

Segaware = Callable[..., Result]


@pytest.fixture(scope="session")
def segaware() -> Segaware:
    """Run `segaware ARGUMENTS...` in this process."""

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def fails(segaware: Segaware, error_line: Callable[[Result, int], str]) -> Callable[..., str]:
    """Run `segaware ARGUMENTS...`, check that it fails as it should, and return the line it fails with."""
    return lambda *arguments, status=1: error_line(segaware(*arguments), status)


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """A data root with a CamVid of 8 training and 3 validation images, each half sky and half road."""
    root = tmp_path / "data"
    for split, count in (("train", 8), ("val", 3)):
        for kind in ("images", "labels"):
            (root / "camvid" / kind / split).mkdir(parents=True)
        for i in range(count):
            write_street(root, split, f"street{i}", np.random.default_rng(i))
    return root


def write_street(root: Path, split: str, name: str, rng: np.random.Generator) -> None:
    label = np.zeros((40, 56), np.uint8)
    label[int(rng.integers(12, 28)) :] = 3
    label[:, :2] = 255
    image = np.where(label == 0, 220, 60)[..., None] + rng.integers(0, 30, (*label.shape, 3))
    Image.fromarray(image.astype(np.uint8)).save(root / "camvid/images" / split / f"{name}.jpg", quality=95)
    Image.fromarray(label).save(root / "camvid/labels" / split / f"{name}.png")
