"""What tests of command lines share."""

from collections.abc import Callable

import pytest
from typer.testing import Result


@pytest.fixture(scope="session")
def error_line() -> Callable[[Result, int], str]:
    """Check that a command has failed as it should, and return the line it fails with."""

    def check(result: Result, status: int) -> str:
        assert isinstance(result.exception, SystemExit), result.exception  # nothing else escaped
        assert result.exit_code == status
        lines = [line for line in result.stderr.splitlines() if line.startswith("segaware: ")]
        assert len(lines) == 1 and result.stderr.endswith(lines[0] + "\n")
        assert "Traceback" not in result.output
        return lines[0].removeprefix("segaware: ")

    return check
