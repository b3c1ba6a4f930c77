"""YAML as recipes have it: plain values, of a size that makes sense, or one error that says what is wrong."""

from pathlib import Path

import pytest

from segaware.recipes.files import RecipeError, load_recipe, read_stored_recipe
from segaware.recipes.yaml_text import parse_yaml

LAUGHS = "a0: &a0 [lol, lol]\n" + "\n".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(30))
MERGES = "a0: &a0 {x: 1}\n" + "\n".join(f"a{i + 1}: &a{i + 1}\n  <<: [{', '.join([f'*a{i}'] * 9)}]" for i in range(30))
BAD = {
    "deep list": "[" * 100_000,
    "deep mapping": "{a: " * 5000 + "1" + "}" * 5000,
    "deep blocks": "\n".join(" " * i + "a:" for i in range(500)),
    "laughs": LAUGHS,
    "laughs by merging": MERGES,
    "many": f"[{'1, ' * 20_000}]",
    "part of itself": "a: &a [*a]",
    "unknown alias": "a: *b",
    "key twice": "a: 1\nb: 2\na: 3",
    "number as key": "1: 2",
    "yes as key": "on: 2",
    "list as key": "? [1]\n: 2",
    "set": "!!set {a, b}",
    "bytes": "!!binary aGk=",
    "object": "!!python/object/apply:os.getcwd []",
    "two documents": "--- 1\n--- 2",
    "many digits": "9" * 5000,
    "no month": "!!timestamp 2001-99-99",
    "control": "a: \x00",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_what_is_no_value_of_a_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    for read in (lambda: load_recipe(str(path)), lambda: read_stored_recipe(path)):
        with pytest.raises(RecipeError, match=r"mine.yaml is not YAML: ") as caught:
            read()
        assert len(str(caught.value)) < 1000
    with pytest.raises(RecipeError, match=r"the value of override .* is not YAML: ") as caught:
        load_recipe("demo/baseline", [f"title={text}"])
    assert len(str(caught.value)) < 1000


def test_plain_values() -> None:
    text = "day: 2001-01-01\nrate: 1e-3\nlayers: &a [fc6, null]\nagain: *a\nbase: &b {x: 1, y: 2}\nmore: {<<: *b, x: 3}"
    assert parse_yaml(text) == {
        "day": "2001-01-01",
        "rate": "1e-3",
        "layers": ["fc6", None],
        "again": ["fc6", None],
        "base": {"x": 1, "y": 2},
        "more": {"x": 3, "y": 2},
    }


@pytest.mark.parametrize("content", [b"", b"- a\n- b\n", b"text", b"\xff\xfe\x00", b"a: [1", b"#" * 2_000_000])
def test_stored_recipe_that_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"recipe.yaml .*: pass --overwrite to train afresh, or another --runs"):
        read_stored_recipe(path)
    with pytest.raises(RecipeError, match=r"recipe.yaml "):
        load_recipe(str(path))


def test_stored_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 3\nfrozen: [fc6]\n")
    assert read_stored_recipe(path) == {"seed": 3, "frozen": ["fc6"]}
