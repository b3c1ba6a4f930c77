"""The folder of the cache, by the convention of each system."""

import sys
from pathlib import Path

import pytest

from segaware.cache_folder import cache_folder


@pytest.mark.parametrize(
    ("platform", "variable", "value", "folder"),
    [
        ("linux", "XDG_CACHE_HOME", "{home}/elsewhere", "elsewhere/segaware"),
        ("linux", "XDG_CACHE_HOME", None, ".cache/segaware"),
        ("linux", "XDG_CACHE_HOME", "", ".cache/segaware"),
        ("linux", "XDG_CACHE_HOME", "relative", ".cache/segaware"),  # which the convention forbids
        ("darwin", "XDG_CACHE_HOME", "{home}/elsewhere", "Library/Caches/segaware"),
        ("win32", "LOCALAPPDATA", "{home}/local", "local/segaware/Cache"),
        ("win32", "LOCALAPPDATA", None, "AppData/Local/segaware/Cache"),
    ],
)
def test_folder(
    platform: str, variable: str, value: str | None, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value.format(home=tmp_path))
    assert cache_folder() == tmp_path / folder
