"""The benchmark page says what the files in results/bench say, and nothing else."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from benchmarks.harness.measure import Goal, Samples, summarize

ROOT = Path(__file__).parents[2]


def _group(name: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    measured = {"command": f"segaware bench {name}", "form": "quick", "seed": 3, "date": "2026-01-02", "commit": "abc"}
    measured |= {"python": "3.11", "torch": "2.13", "numpy": "2", "numba": "0.68", "opencv-python-headless": "5"}
    measured |= {"kornia": None, "machine": "a processor, 2 cores, 2 threads", "os": "Linux"}
    return {"group": name, "title": f"Title of {name}", "about": f"About {name}.", "measured": measured, "cases": cases}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    times: dict[str, Samples | str] = {
        "segaware": Samples(2.0, [0.003, 0.003]),
        "F.conv2d": Samples(0.1, [0.001, 0.002]),
        "kornia": "kornia: not installed",
    }
    case = summarize("conv1_2", "ms", times, ("F.conv2d",), [Goal(("segaware",), ("F.conv2d",), 1.5)])
    point: dict[str, Samples | str] = {"segaware": Samples(None, [0.5]), "unfold": "not run: needs 9 GB"}
    points = [
        summarize(f"{sweep} {x}", unit, point, ()) | {"sweep": sweep, "x": x}
        for sweep in ("side", "window", "dim")
        for x in (4, 8)
        for unit in ("ms", "MB")
    ]
    for name, cases in (("layers", [case]), ("curves", points)):
        (tmp_path / f"{name}.json").write_text(json.dumps(_group(name, cases)))
    (tmp_path / "remarks.md").write_text("## Remarks\n\nWhere the time goes.\n")
    return tmp_path


def test_committed_page_is_made_from_the_committed_results(generate: ModuleType) -> None:
    assert (ROOT / "docs/benchmarks.md").read_text() == generate.benchmarks_page(generate.BENCH), "run `make docs`"


def test_page(generate: ModuleType, folder: Path) -> None:
    page = generate.benchmarks_page(folder)
    lines = page.splitlines()
    assert "| conv1_2 | segaware | 3 ms | 2.25 [1.65, 2.85] | 2000 ms | <= 1.5: MISSED |" in lines
    assert "|  | F.conv2d | 1.5 ms [1.1, 1.9] | baseline | 100 ms |  |" in lines
    assert "|  | kornia | kornia: not installed |  |  |  |" in lines
    assert (
        "`segaware bench layers` (quick form, seed 3), 2026-01-02, commit abc, python 3.11, torch 2.13, numpy 2, "
        "numba 0.68, kornia not installed, opencv-python-headless 5, a processor, 2 cores, 2 threads, Linux."
    ) in lines
    assert "* side 4, unfold: not run: needs 9 GB" in lines
    places = [
        page.index(text) for text in ("Title of layers", "Where the time goes.", "Title of curves", "bench_dim.png")
    ]
    assert places == sorted(places)


def test_earlier_figures_are_kept_with_their_commit(generate: ModuleType, folder: Path) -> None:
    earlier = json.loads((folder / "layers.json").read_text())
    earlier["measured"]["commit"] = "0123456789"
    (folder / "earlier").mkdir()
    (folder / "earlier/layers_0123456.json").write_text(json.dumps(earlier))
    page = generate.benchmarks_page(folder)
    assert "## Title of layers\n" in page and page.count("| conv1_2 | segaware | 3 ms |") == 2
    assert "## Title of layers, commit 0123456\n\nEarlier figures: kernels have changed since. About layers." in page


def test_page_without_measurements(generate: ModuleType, tmp_path: Path) -> None:
    assert generate.benchmarks_page(tmp_path).startswith("# Benchmarks\n")


def test_curves_are_drawn(generate: ModuleType, folder: Path, tmp_path: Path) -> None:
    generate.draw_curves(json.loads((folder / "curves.json").read_text())["cases"], tmp_path)
    for sweep in ("side", "window", "dim"):
        picture = Image.open(tmp_path / f"bench_{sweep}.png").convert("L")
        assert picture.width > 1200 and picture.getextrema() == (0, 255)
