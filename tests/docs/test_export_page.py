"""The page on exporting: its code runs, and its table says what was measured."""

import doctest
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).parents[2] / "docs/export.md"


def test_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert failed == 0 and tried > 10


def test_committed_table_is_made_from_the_committed_results(generate: ModuleType) -> None:
    assert PAGE.read_text() == generate.export_page(PAGE.read_text()), "run `make docs`"
    assert generate.export_page("<!-- Made -->\nold\n<!-- End").count("| module |") == 1


def test_every_module_is_within_the_bound(generate: ModuleType) -> None:
    rows = generate.load_exports()["rows"]
    assert len(rows) > 10
    for row in rows:
        assert row["difference"] < 1e-4 * max(1, row["largest"])
