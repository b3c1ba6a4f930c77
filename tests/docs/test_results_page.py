"""The results page says what the results files say, and nothing else."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from docs.everyday import load_everyday

ROOT = Path(__file__).parents[2]
COMMANDS = ("segaware ", "python benchmarks/", "python -m benchmarks ")


def test_committed_page_is_made_from_the_committed_results(generate: ModuleType) -> None:
    assert (ROOT / "docs/results.md").read_text() == generate.page(), "run `make docs`"


def test_every_results_file_has_a_commit_a_command_and_intervals() -> None:
    files = sorted(
        path for path in (ROOT / "results").rglob("*.json") if not {"bench", "separability"} & set(path.parts)
    )
    assert files
    for path in files:
        table = json.loads(path.read_text())
        assert table["measured"]["commit"] and table["measured"]["command"].startswith(COMMANDS)
        for row in table["rows"]:
            for interval in row.get("differences") or [row["miou_difference"]]:  # of flow, or of segmentation
                assert interval["low"] <= interval["difference"] <= interval["high"]
            assert row["trained"]["command"].startswith(COMMANDS)
            assert row["seed"] is not None and row["trained"]["commit"]


def test_page_shows_the_figures_of_a_row(generate: ModuleType) -> None:
    table = generate.load_tables()[0]
    row = table["rows"][-1]
    lines = [line for line in generate.page().splitlines() if line.startswith(f"| {row['title']} |")]
    assert f"| {100 * row['miou']:.1f} (" in lines[0]


def test_page_shows_errors_of_flow(generate: ModuleType) -> None:
    table = next(table for table in generate.load_tables() if table["table"] == "harley2017/table3")
    row, page = table["rows"][1], generate.page()
    assert f"| {row['title']} | 2.86 | {row['errors'][0]:.2f} ({row['differences'][0]['difference']:+.2f} [" in page
    for kind in ("errors", "displacements"):
        name = f"figures/harley2017_table3_flying_voc_{kind}.png"
        assert f"({name})" in page and (ROOT / "docs" / name).is_file()
    other = row["also"]["middlebury"]
    assert f"| {other['end_point_error']:.2f} / {other['angular_error']:.1f} |" in page


def test_table_of_a_data_set(generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies in a folder of its table, its remarks beside it; what older tables lack has columns there."""
    table = json.loads((ROOT / "results/demo.json").read_text())
    table |= {"table": "paper/table1", "data": "animals", "title": "Animals", "figure": [table["rows"][0]["recipe"]]}
    for row in table["rows"]:
        row |= {"published": 66.3, "boundary_iou": 0.5, "boundary_iou_difference": row["miou_difference"], "peak_mb": 9}
    folder = tmp_path / "results/paper/table1"
    folder.mkdir(parents=True)
    (folder / "animals.json").write_text(json.dumps(table))
    (folder / "animals.md").write_text("What it means.\n")
    (tmp_path / "results/bench").mkdir()
    (tmp_path / "results/bench/layers.json").write_text("{}")
    (tmp_path / "docs/figures").mkdir(parents=True)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "BENCH", tmp_path / "results/bench")
    generate.write_results()
    page = (tmp_path / "docs/results.md").read_text()
    assert "## Animals" in page and "What it means." in page
    bands = [f"{width} px" for width in generate.SHOWN_HALF_WIDTHS if width in table["half_widths"]]
    assert " | ".join(["| method | paper | mIoU", *bands, "boundary | ms | peak MB |"]) in page
    assert "(figures/paper_table1_animals_trimap.png)" in page
    assert [path.name for path in (tmp_path / "docs/figures").iterdir()] == ["paper_table1_animals_trimap.png"]


def test_page_of_everyday_photographs_is_made_from_the_committed_results(generate: ModuleType) -> None:
    page = (ROOT / "docs/everyday.md").read_text()
    assert page == generate.everyday_page(page), "run `make docs`"
    for tables in load_everyday().values():
        assert tables
        for table in tables:
            assert f"### {table['data']}, " in page
            best = max(row["boundary_iou"] for row in table["rows"])
            assert f"| **{100 * best:.1f}**" in page
