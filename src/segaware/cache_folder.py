"""Where files are kept for a user, by the convention of the operating system."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    r"""Return the folder of segaware's cache, which may not be there yet.

    It is `$XDG_CACHE_HOME/segaware` (`~/.cache/segaware` if that is not set), `~/Library/Caches/segaware` on macOS, and
    `%LOCALAPPDATA%\segaware\Cache` on Windows.

    Raises:
        RuntimeError: If the user's home folder is needed and not known.
    """
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData/Local") / "segaware/Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/segaware"
    folder = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(folder) if os.path.isabs(folder) else Path.home() / ".cache") / "segaware"
