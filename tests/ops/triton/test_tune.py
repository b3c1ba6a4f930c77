"""`segaware tune` on a tiny layer."""

import json
from pathlib import Path

import pytest

from segaware import use_backend
from segaware.cli.bench.gpu import card, tune
from segaware.cli.bench.layers import Layer
from segaware.cli.bench.measure import wall_clock
from segaware.cli.bench.plan import Settings
from segaware.ops import _launch
from segaware.ops._launch import Tile

from .comparison import DEVICE


@pytest.fixture(autouse=True)
def _interpreter_as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_launch, "TUNED", {})
    monkeypatch.setattr(tune, "_ROUNDS", 1)
    monkeypatch.setattr(tune, "_CALLS", 1)
    if DEVICE == "cpu":
        for name, value in {
            "DEVICE": DEVICE,
            "problem": lambda: None,
            "facts": lambda: {"card": "none"},
            "clock": wall_clock,
            "captured": lambda contender: contender,
        }.items():
            monkeypatch.setattr(card, name, value)


def test_the_fastest_tile_of_every_kernel_is_written(tmp_path: Path) -> None:
    layer = Layer("tiny", 16, 17, 5, 1, 1, 1)
    tiles = (Tile(16, 16, 16, 4, 1), Tile(32, 32, 16, 4, 1))
    peers = Path(__file__).parents[3] / "benchmarks/peers"
    with use_backend("triton"):
        lines = list(tune.tune(Settings(peers), tmp_path / "tiles.json", (layer,), (1,), ("TF32",), tiles))
    values = json.loads((tmp_path / "tiles.json").read_text())
    assert values["measured"]["card"] and len(lines) == 3
    assert values["tiles"].keys() == {
        "forward tf32: 2^4 x 17 x 16",
        "input gradient tf32: 2^4 x 16 x 17",
        "weight gradient tf32: 2^7 x 17 x 25",
    }
    assert all(Tile(*tile) in tiles for tile in values["tiles"].values())
    chosen = _launch.choose_tile({}, "forward", "tf32", 1, 25, 17, 16)
    assert chosen == Tile(*values["tiles"]["forward tf32: 2^4 x 17 x 16"])
    # A tile is no larger than what it is for.
    _launch.TUNED["forward tf32: 2^4 x 17 x 16"] = Tile(128, 128, 64, 8, 3)
    assert _launch.choose_tile({}, "forward", "tf32", 1, 25, 17, 16) == Tile(32, 32, 16, 8, 3)


def test_candidates_fit_registers() -> None:
    tiles = tune.candidates()
    assert len(tiles) == len(set(tiles)) > 20 and all(t.rows * t.columns / (32 * t.warps) <= 64 for t in tiles)
