"""`segaware tune`: where it writes, and what it says where there is no GPU; the search is tested with the kernels."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import Result

from segaware.ops import _tuned_tiles
from segaware.ops._tuned_tiles import Tile
from segaware.tuning import gpu, search

KEY = "forward half: 2^4 x 17 x 16"
FACTS = {"card": "A Card", "segaware": "0", "triton": "0"}


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A GPU on which the search finds these kernels' tiles, with an empty cache folder."""
    keys = [KEY]
    monkeypatch.setattr(_tuned_tiles, "cache_folder", lambda: tmp_path / "cache/segaware")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A Card")
    monkeypatch.setattr(gpu, "problem", lambda: None)
    monkeypatch.setattr(gpu, "facts", lambda: FACTS)
    monkeypatch.setattr(search, "tuned_for", lambda card: FACTS)
    monkeypatch.setattr(search, "_steps", lambda *_: (None, None))
    monkeypatch.setattr(search, "_asked_for", lambda *_: keys)
    monkeypatch.setattr(search, "_fastest", lambda *_: (Tile(64, 64, 32, 4, 3), 0.001))
    return keys


def test_written_where_the_kernels_read(segaware: Callable[..., Result], found: list[str], tmp_path: Path) -> None:
    file = tmp_path / "cache/segaware/tiles-A-Card.json"
    result = segaware("tune")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"{KEY}: (64, 64, 32, 4, 3, 'product'), 1 ms"
    assert result.stdout.splitlines()[-1] == str(file)
    assert _tuned_tiles.read_tiles(file, FACTS) == {KEY: Tile(64, 64, 32, 4, 3)}
    # What was found of other layers is kept.
    found[:] = ["another"]
    segaware("tune")
    assert _tuned_tiles.read_tiles(file, FACTS).keys() == {KEY, "another"}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_written_elsewhere(segaware: Callable[..., Result], found: list[str], tmp_path: Path) -> None:
    file = tmp_path / "folder/tiles.json"
    assert segaware("tune", "--out", file).exit_code == 0
    assert file.is_file() and not (tmp_path / "cache").exists()


def test_quick(segaware: Callable[..., Result], found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    measured, tried = [], []
    monkeypatch.setattr(search, "_steps", lambda layer, *which: measured.append(which) or (None,))
    monkeypatch.setattr(search, "_fastest", lambda *a: tried.append(a[2]) or (Tile(64, 64, 32, 4, 3), 0.001))
    assert segaware("tune", "--quick").exit_code == 0
    assert set(measured) == {(8, "bfloat16", 0)} and tried == [search.candidates(KEY, quick=True)]


def test_bad_folder(fails: Callable[..., str], found: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file" in fails("tune", "--out", tmp_path / "file" / "tiles.json")


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would tune")
def test_without_a_gpu(fails: Callable[..., str], tmp_path: Path) -> None:
    line = fails("tune", "--out", tmp_path / "folder" / "tiles.json")
    assert line.startswith("tiles cannot be tuned: ")
    assert "it needs an NVIDIA GPU" in line or "Triton cannot be imported" in line
    assert not (tmp_path / "folder").exists()
