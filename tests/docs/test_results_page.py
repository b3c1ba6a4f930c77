"""The results page says what the results files say, and nothing else."""

import json
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def test_committed_page_is_made_from_the_committed_results(generate: ModuleType) -> None:
    assert (ROOT / "docs/results.md").read_text() == generate.page(), "run `make docs`"


def test_every_results_file_has_a_commit_a_command_and_intervals() -> None:
    files = sorted((ROOT / "results").glob("*.json"))
    assert files
    for path in files:
        table = json.loads(path.read_text())
        assert table["measured"]["commit"] and table["measured"]["command"].startswith("segaware ")
        for row in table["rows"]:
            interval = row["miou_difference"]
            assert interval["low"] <= interval["difference"] <= interval["high"]
            assert row["seed"] is not None and row["trained"]["commit"]


def test_page_shows_the_figures_of_a_row(generate: ModuleType) -> None:
    table = generate.load_tables()[0]
    row = table["rows"][-1]
    lines = [line for line in generate.page().splitlines() if line.startswith(f"| {row['title']} |")]
    assert f"| {100 * row['miou']:.1f} (" in lines[0]
