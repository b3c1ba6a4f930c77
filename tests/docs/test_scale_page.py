"""The page on clusters says what was measured."""

from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs/scale.md"


def test_committed_tables_are_made_from_the_committed_results(generate: ModuleType) -> None:
    text = PAGE.read_text()
    assert text == generate.scale_page(text), "run `make docs`"
    made = generate.scale_page("<!-- Made -->\nold\n<!-- End")
    assert "\nold\n" not in made and made.count("| 100,000,000 |") in (0, 4)
