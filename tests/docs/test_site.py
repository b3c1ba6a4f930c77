"""The site's reference has every public name, and its tutorials do what they say."""

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import segaware

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"


def rooms() -> list[str]:
    """Return the packages that say which of their names are public."""
    files = sorted((SRC / "segaware").rglob("__init__.py"))
    return [".".join(file.parent.relative_to(SRC).parts) for file in files if "__all__" in file.read_text()]


def public_objects() -> list[tuple[str, object]]:
    return [
        (f"{room}.{name}", getattr(importlib.import_module(room), name))
        for room in rooms()
        for name in importlib.import_module(room).__all__
    ]


def test_every_room_has_a_page() -> None:
    pages = {f"segaware.{path.stem}": path.read_text() for path in (ROOT / "docs/reference").glob("*.md")}
    top = pages.pop("segaware.segaware")
    assert {"segaware", *pages} == set(rooms())
    for room, page in pages.items():
        assert page == f"::: {room}\n"  # all of its `__all__`
        assert f"reference/{room.removeprefix('segaware.')}.md" in (ROOT / "mkdocs.yml").read_text()
    assert sorted(set(re.findall(r"\[`(\w+)`\]\[segaware\.", top))) == sorted(segaware.__all__)


def test_every_public_function_and_class_has_a_docstring() -> None:
    objects = [(name, value) for name, value in public_objects() if inspect.isclass(value) or inspect.isfunction(value)]
    assert len(objects) > 100
    assert [name for name, value in objects if not (value.__doc__ or "").strip()] == []


def test_reference_shows_every_public_name(tmp_path: Path) -> None:
    """Also those that have the name of the module that they come from, as `segaware.refine`."""
    pytest.importorskip("mkdocs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    # Without what runs the tutorials.
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), hooks=[], strict=False)
    build(config)
    shown = {
        name
        for page in (tmp_path / "reference").glob("*.html")
        for name in re.findall(r'<h\d id="([^"]+)"[^>]*class="doc', page.read_text())
    }
    assert [name for name, _ in public_objects() if name.count(".") > 1 and name not in shown] == []
    page = (tmp_path / "reference/ops.html").read_text()
    assert 'src="../figures/operators/correlation.png"' in page and "MOST_DISPLACEMENT" not in page


def test_name_without_docstring_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    griffe = pytest.importorskip("griffe")
    package = tmp_path / "toy"
    package.mkdir()
    (package / "__init__.py").write_text(
        'from toy.told import told\nfrom toy.untold import untold\n__all__ = ["told", "untold"]'
    )
    (package / "told.py").write_text('def told():\n    """Tell.\n\n    Example:\n        >>> told()\n    """\n')
    (package / "untold.py").write_text("def untold(): ...\n")
    extensions = griffe.load_extensions(ROOT / "docs/site/docstrings.py")
    toy = griffe.load("toy", search_paths=[tmp_path], extensions=extensions)
    (record,) = caplog.records
    assert record.message.endswith("toy.untold is public and has no docstring (toy.untold.untold)")
    assert toy["told"].is_function and "Examples:" in toy["told"].docstring.value


def test_links_that_leave_the_pages(
    load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(ROOT / "docs/site")
    hooks = load_script("site/hooks.py")
    page = SimpleNamespace(file=SimpleNamespace(src_uri="results.md"))
    text = "[results/](../results), [data](data.md)"
    assert hooks.on_page_markdown(text, page=page, config=None, files=None) == "`results`, [data](data.md)"
    assert not caplog.records
    hooks.on_page_markdown("[old](../no_such)", page=page, config=None, files=None)
    assert caplog.records[0].message == "results.md links to [old](../no_such), which is not there"


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("sharpen", {"SCENES": 1}),
        ("convert", {"SCENES": 8, "HELD_OUT": 2, "STEPS": 4, "EXTRA_STEPS": 1}),
        ("embedding", {"IMAGES": 10, "HELD_OUT": 1, "EPOCHS": 2}),
    ],
)
def test_tutorial_runs(
    load_script: Callable[[str], ModuleType], tmp_path: Path, name: str, constants: dict[str, int]
) -> None:
    page = load_script("site/tutorials.py").run(ROOT / f"docs/tutorials/{name}.py", tmp_path, **constants)
    assert page.startswith("# ") and 'title="prints"' in page
    pictures = re.findall(r"!\[[^]]+\]\((\w+\.png)\)", page)
    assert pictures and all((tmp_path / picture).is_file() for picture in pictures)
    assert "nan" not in page


def test_tutorial_is_run_cell_by_cell(load_script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    script = tmp_path / "toy.py"
    script.write_text(
        "# %% [markdown]\n# # Toy\n#\n# Text.\n\n# %%\nN = 1\n\n# %%\nprint(N)\n\n# %%\n\n\nraise ValueError(N)\n"
    )
    tutorials = load_script("site/tutorials.py")
    with pytest.raises(ValueError, match="3") as error:
        tutorials.run(script, tmp_path, N=3)
    assert error.traceback[-1].lineno == 14  # from 0
    with pytest.raises(ValueError, match=r"no constants \['M'\]"):
        tutorials.run(script, tmp_path, M=3)
    script.write_text(script.read_text().replace("raise", "# raise"))
    page = tutorials.run(script, tmp_path, N=3)
    assert page.startswith(
        '# Toy\n\nText.\n\n```python\nN = 1\n```\n\n```python\nprint(N)\n```\n\n```text title="prints"\n3\n```'
    )
