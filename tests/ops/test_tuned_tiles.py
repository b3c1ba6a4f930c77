"""Where tuned tiles are read from, and which files are not believed; no GPU is needed."""

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from segaware.ops import _tuned_tiles
from segaware.ops._tuned_tiles import Tile, tiles_path, tuned_for, tuned_tiles

CARD = "NVIDIA H200"
OURS, THEIRS = [64, 64, 32, 4, 3], [128, 64, 32, 8, 3, "factor"]
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU, a package with two tiles, and an empty cache folder."""
    packaged = tmp_path / "packaged.json"
    packaged.write_text(json.dumps({"measured": None, "tiles": {"a": OURS, "b": OURS}}))
    monkeypatch.setattr(_tuned_tiles, "PACKAGED", packaged)
    monkeypatch.setattr(_tuned_tiles, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: CARD)
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__="3.7.1"))
    _tuned_tiles._tiles_of.cache_clear()
    yield
    _tuned_tiles._tiles_of.cache_clear()


@pytest.fixture
def write() -> Write:
    """Write the user's file, which has other tiles than the package; keyword arguments change what it was made with."""

    def run(tiles: dict[str, Any] | None = None, **measured: str) -> Path:
        path = tiles_path(CARD)
        path.parent.mkdir(exist_ok=True)
        values = {"b": THEIRS, "c": THEIRS} if tiles is None else tiles
        path.write_text(json.dumps({"measured": tuned_for(CARD) | measured, "tiles": values}))
        return path

    return run


def test_the_users_tiles_win_and_the_packages_are_the_fallback(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write()
    assert path.name == "tiles-NVIDIA-H200.json"
    with caplog.at_level(logging.INFO, "segaware"):
        assert tuned_tiles() == {"a": Tile(*OURS), "b": Tile(*THEIRS), "c": Tile(*THEIRS)}
        assert tuned_tiles() is tuned_tiles()  # files are read once
    assert [record.getMessage() for record in caplog.records] == [f"2 tuned tiles for {CARD} from {path}"]


def test_without_a_gpu_only_those_of_the_package(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert tuned_tiles().keys() == {"a", "b"}


def test_without_a_file_there_is_no_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for folder in (lambda: tmp_path / "nowhere", lambda: tmp_path / "packaged.json" / "below a file", no_home):
        monkeypatch.setattr(_tuned_tiles, "cache_folder", folder)
        _tuned_tiles._tiles_of.cache_clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert tuned_tiles().keys() == {"a", "b"}


@pytest.mark.parametrize("fact", ["card", "segaware", "triton"])
def test_a_file_of_another_gpu_or_version_is_not_used(write: Write, fact: str) -> None:
    path = write(**{fact: "other"})
    with pytest.warns(UserWarning) as warned:
        assert tuned_tiles()["b"] == Tile(*OURS)
        tuned_tiles()
    here = tuned_for(CARD)[fact]
    assert [str(w.message) for w in warned] == [
        f"{path} is not used: it was made with {fact} other, here {here}. `segaware tune` writes such a file anew"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"measured": null, "tiles": {}',
        '{"measured": 3, "tiles": {}}',
        '{"measured": null, "tiles": {"b": 3}}',
        '{"measured": null, "tiles": []}',
        "\xff",
    ],
)
def test_a_damaged_file_is_not_used(write: Write, text: str) -> None:
    path = write()
    path.write_text(text, encoding="latin-1")
    with pytest.warns(UserWarning, match="is not used: it is damaged") as warned:
        assert tuned_tiles() == {"a": Tile(*OURS), "b": Tile(*OURS)}
    assert len(warned) == 1


@pytest.mark.parametrize(
    "tile",
    [[64, 64, 32, 4], [64, 64, 32, 4, 0], [65, 64, 32, 4, 3], [64, 64, 32, 4, 3.0], [64, 64, 32, 4, 3, "mask"], None],
)
def test_numbers_that_are_no_tile(write: Write, tile: Any) -> None:
    write({"b": tile})
    with pytest.warns(UserWarning, match="is not used: it is damaged"):
        assert tuned_tiles()["b"] == Tile(*OURS)


def test_the_packages_own_file() -> None:
    path = Path(_tuned_tiles.__file__).with_name("tiles.json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _tuned_tiles.read_tiles(path, {})
