"""`segaware tune` on a tiny layer."""

import json
from pathlib import Path

import pytest

from benchmarks.harness.measure import wall_clock
from segaware import use_backend
from segaware.ops import _launch
from segaware.ops._tuned_tiles import Tile, read_tiles, tuned_for
from segaware.tuning import gpu, search
from segaware.tuning.search import Layer

from .comparison import DEVICE


@pytest.fixture(autouse=True)
def _interpreter_as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles: dict[str, Tile] = {}
    for module in (_launch, search):
        monkeypatch.setattr(module, "tuned_tiles", lambda: tiles)
    monkeypatch.setattr(search, "_ROUNDS", 1)
    monkeypatch.setattr(search, "_CALLS", 1)
    if DEVICE == "cpu":
        for name, value in {
            "DEVICE": DEVICE,
            "facts": lambda: tuned_for("none"),
            "clock": wall_clock,
            "captured": lambda run: run,
        }.items():
            monkeypatch.setattr(gpu, name, value)


def test_the_fastest_tile_of_every_kernel_is_written(tmp_path: Path) -> None:
    layer = Layer("tiny", 16, 17, 5, 1)
    tiles = (Tile(16, 16, 16, 4, 1, "factor"), Tile(32, 32, 16, 4, 1))
    file = tmp_path / "tiles.json"
    with use_backend("triton"):
        lines = list(search.tune(0, file, (layer,), (1,), ("TF32",), tiles))
    values = json.loads(file.read_text())
    card = values["measured"]["card"]
    assert read_tiles(file, tuned_for(card)) == {key: Tile(*tile) for key, tile in values["tiles"].items()}
    assert values["measured"]["card"] and len(lines) == 4
    assert values["tiles"].keys() == {
        "forward tf32: 2^4 x 17 x 16",
        "input gradient tf32: 2^4 x 16 x 17",
        "input and mask gradient tf32: 2^4 x 16 x 17",
        "weight gradient tf32: 2^7 x 17 x 25",
    }
    assert all(Tile(*tile) in tiles for tile in values["tiles"].values())
    chosen = _launch.choose_tile({}, "forward", "tf32", 1, 25, 17, 16)
    assert chosen == Tile(*values["tiles"]["forward tf32: 2^4 x 17 x 16"])
    # A tile is no larger than what it is for.
    _launch.tuned_tiles()["forward tf32: 2^4 x 17 x 16"] = Tile(128, 128, 64, 8, 3)
    assert _launch.choose_tile({}, "forward", "tf32", 1, 25, 17, 16) == Tile(32, 32, 16, 8, 3)


def test_candidates_fit_registers() -> None:
    for key, forms in (("forward half: 2^4", 2), ("input gradient half", 2), ("input and mask gradient half", 1)):
        tiles = search.candidates(key)
        assert len(tiles) == len(set(tiles)) > 20 and all(t.rows * t.columns / (32 * t.warps) <= 64 for t in tiles)
        assert len({t.masked for t in tiles}) == forms
        quick = search.candidates(key, quick=True)
        assert set(quick) < set(tiles) and len(quick) == 4 * forms
