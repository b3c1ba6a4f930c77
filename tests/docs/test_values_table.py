"""The page on refining says what was measured of flow."""

from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs/refine.md"


def test_committed_tables_are_made_from_the_committed_results(generate: ModuleType) -> None:
    text = PAGE.read_text()
    assert text == generate.values_page(text), "run `make docs`"
    assert generate.values_page("<!-- Made -->\nold\n<!-- End").count("| nothing |") in (
        0,
        12,
    )  # four flows, three sets
