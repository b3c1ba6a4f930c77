"""The wheel alone, in an environment that has its dependencies and nothing else: what `pip install segaware` gives."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/segaware"
CACHES = ("__pycache__", "*.egg-info")  # what running and installing leave in src/

BEFORE = """
>>> import segaware
>>> "site-packages" in segaware.__file__
True
>>> _ = segaware.use_backend("reference")  # compiling the kernels of a new environment takes a minute

"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links to the installed dependencies need privileges there")


def run(*command: str | Path, **options: object) -> str:
    """Run a command without what the environment says of Python, and return what it prints; show why it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SEGAWARE"))}
    done = subprocess.run(
        [*map(str, command)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools puts what it finds in an old build folder into wheels."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(SOURCE, copy / "src/segaware", ignore=shutil.ignore_patterns(*CACHES))
    pip = (sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index")
    run(*pip, "--wheel-dir", copy / "dist", copy)
    (path,) = (copy / "dist").iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a program of a new environment that has the wheel, and by links what it requires and that requires."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    run(sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--no-index", "--no-deps", wheel)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (metadata,) = site.glob("segaware-*.dist-info/METADATA")
    for line in re.findall("^Requires-Dist: (.+)", metadata.read_text(), re.MULTILINE):
        link(Requirement(line), site)
    return lambda program, *arguments: run(folder / "bin" / program, *arguments, cwd=folder)


def link(requirement: Requirement, site: Path) -> None:
    """Link the files of an installed package, and of what it requires, into an environment."""
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return
    package = distribution(requirement.name)
    tops = {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}
    if not tops or (site / min(tops)).exists():
        return
    for top in tops:
        (site / top).symlink_to(Path(str(package.locate_file(top))))
    for line in package.requires or ():
        link(Requirement(line), site)


def test_the_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {path for path in SOURCE.rglob("*") if path.is_file() and not path.match("__pycache__/*")}
    assert names == {path.relative_to(SOURCE.parent).as_posix() for path in files}
    for data in (
        "py.typed",
        "data/chelsea.jpg",
        "data/chelsea_deeplabv3.npz",
        "recipes/demo/baseline.yaml",
        "weights/fast.safetensors",
        "weights/vgg.safetensors",
    ):
        assert f"segaware/{data}" in names


def test_the_wheel_holds_no_benchmark_and_no_test(wheel: Path) -> None:
    others = [name for name in zipfile.ZipFile(wheel).namelist() if re.search("bench|test|conftest", name)]
    assert not others


def test_a_core_install(installed: Callable[..., str], tmp_path: Path) -> None:
    _, _, section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## As a layer\n")
    example = tmp_path / "layer.md"
    example.write_text(BEFORE + section.partition("\n## ")[0], encoding="utf-8")
    assert installed("python", "-m", "doctest", "-v", example).endswith("passed.\n")  # some were found

    told = installed("segaware", "doctor")
    assert re.search("^typer +not installed|^lightning +not installed", told, re.MULTILINE)
    assert re.search("^train +lightning missing, .*; brings the command line", told, re.MULTILINE)
    assert re.search("^numba +available", told, re.MULTILINE)
