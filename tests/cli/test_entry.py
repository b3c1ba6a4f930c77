"""`segaware` where packages are missing, what `segaware doctor` says of extras, and `--debug`."""

import logging
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError

import pytest
from typer.testing import Result

from segaware.cli import doctor, entry

REQUIREMENTS = [
    "torch>=2.7",
    'lightning>=2.6; extra == "train"',
    'pillow>=10; extra == "train"',
    'segaware[train]; extra == "flow"',
    'opencv-python-headless>=4; extra == "flow"',
    'onnx>=1.17; extra == "export"',
    "triton>=3.4; sys_platform == 'another' and extra == \"triton\"",
]


@pytest.fixture
def core_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "segaware.cli.main", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)  # cannot be imported


@pytest.mark.usefixtures("core_install")
def test_without_typer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["segaware", "train", "demo/baseline"])
    with pytest.raises(SystemExit, match=r"^segaware: the command line needs typer: pip install 'segaware\[train\]'"):
        entry.main()
    monkeypatch.setattr(sys, "argv", ["segaware", "doctor"])
    entry.main()
    assert capsys.readouterr().out.splitlines() == doctor.report_lines()


def test_a_broken_package_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["segaware", "train"])
    monkeypatch.setitem(sys.modules, "segaware.cli.main", None)
    with pytest.raises(ModuleNotFoundError, match=r"segaware\.cli\.main"):
        entry.main()


def test_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package not in (versions := {"segaware": "1.0", "pillow": "9.5", "onnx": "1.18rc1"}):
            raise PackageNotFoundError
        return versions[package]

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "requires", lambda _: REQUIREMENTS)
    notes = {extra: note.partition("; brings ") for extra, note in doctor.extra_notes().items()}
    assert all(brings for _, _, brings in notes.values())
    assert notes["train"][0] == "lightning missing, pillow 9.5 is not >=10"
    assert notes["flow"][0] == "train incomplete, opencv-python-headless missing"
    assert notes["export"][0] == "installed"
    assert notes["triton"][0] == "nothing to install on this system"


def test_extras_of_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda _: None)
    assert set(doctor.extra_notes().values()) == {"not known, for segaware itself is not installed"}


def test_debug(segaware: Callable[..., Result]) -> None:
    log = logging.getLogger("segaware")
    before = log.level, list(log.handlers)
    quiet = segaware("recipes", "no/such")
    told = segaware("--debug", "recipes", "no/such")
    assert "Traceback" not in quiet.stderr and "read_recipe" not in quiet.stderr
    assert "Traceback" in told.stderr and "read_recipe" in told.stderr and told.stderr.endswith(quiet.stderr)
    assert (log.level, log.handlers) == before


def test_log(segaware: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command shows warnings and what it waits for, and with --debug what is chosen."""

    def chosen() -> dict[str, str]:
        logging.getLogger("segaware.anywhere").warning("something is left out")
        logging.getLogger("segaware.ops._kernel_cache").info("a kernel is compiled")
        logging.getLogger("segaware").info("something is chosen")
        return {}

    monkeypatch.setattr(doctor, "backend_notes", chosen)
    lines = "WARNING test_entry: something is left out\nINFO test_entry: a kernel is compiled\n"
    assert segaware("doctor").stderr == lines
    assert segaware("--debug", "doctor").stderr.endswith(f"{lines}INFO test_entry: something is chosen\n")
