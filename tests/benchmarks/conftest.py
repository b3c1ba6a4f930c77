"""`python -m benchmarks`, in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from benchmarks.__main__ import app

Bench = Callable[..., Result]


@pytest.fixture(scope="session")
def bench() -> Bench:
    """Run `python -m benchmarks ARGUMENTS...`."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def fails(bench: Bench, error_line: Callable[[Result, int], str]) -> Callable[..., str]:
    """Run it, check that it fails as it should, and return the line it fails with."""
    return lambda *arguments, status=1: error_line(bench(*arguments), status)


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fresh processes find the package."""
    monkeypatch.chdir(Path(__file__).parents[2])
