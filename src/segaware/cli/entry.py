"""What `segaware` starts: the command line, or where its packages are missing, `segaware doctor` alone."""

from __future__ import annotations

import sys

from segaware.cli.doctor import doctor


def main() -> None:
    """Run the command line. Without its packages `segaware doctor` works, and all else names the extra to install."""
    try:
        from segaware.cli.main import app
    except ImportError as error:
        if "doctor" in sys.argv[1:]:
            doctor()
            return
        if not isinstance(error, ModuleNotFoundError) or str(error.name).startswith("segaware"):
            raise  # nothing that is missing: something is broken
        sys.exit(f"segaware: the command line needs {error.name}: pip install 'segaware[train]'; see `segaware doctor`")
    app()
