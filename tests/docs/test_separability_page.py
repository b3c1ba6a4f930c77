"""The page on judging embeddings says what the files in results/separability say."""

from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/separability.md"


def test_committed_tables_are_made_from_the_committed_results(generate: ModuleType) -> None:
    page = PAGE.read_text()
    assert page == generate.separability_page(page), "run `make docs`"
    assert len(generate.load_separability()) > 0
    for values in generate.load_separability():
        assert f"## {values['separability']}\n" in page
        assert (ROOT / "docs/figures" / f"separability_{values['separability']}.png").is_file()


def test_results_say_their_commit_their_weights_and_intervals(generate: ModuleType) -> None:
    for values in generate.load_separability():
        measured = values["measured"]
        assert measured["commit"] and measured["command"].startswith("segaware separability ")
        control, *others = values["rows"]
        assert (control["embedding"], control["weights"]) == ("color", None) and others
        for row in others:
            assert len(row["weights"]) == 16
            for column in row["by_pixel_distance"] + row["by_border_distance"]:
                interval = column["difference"]
                assert interval is None or interval["low"] <= interval["difference"] <= interval["high"]
