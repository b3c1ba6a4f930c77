"""Tutorials: Python scripts in the percent format of Jupytext, run cell by cell, which become pages."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "tutorials"
_MARKDOWN = "# %% [markdown]"


def run(script: Path, folder: Path, **constants: Any) -> str:
    """Run a tutorial and return its page.

    Args:
        script: The script. Its first cell of code assigns the constants that say how much is done.
        folder: Where it runs, and so where its pictures are written.
        constants: Other values for some of these constants.

    Returns:
        Markdown: the prose, the code, and what it has printed.

    Raises:
        ValueError: If a constant is none of the script's.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    page = []
    before = Path.cwd()
    os.chdir(folder)
    try:
        for line, is_prose, text in _cells(script.read_text()):
            if is_prose:
                page.append("\n".join(row.removeprefix("#").removeprefix(" ") for row in text.splitlines()))
                continue
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                # As many empty lines as precede the cell, so that a traceback names the script's own line.
                exec(compile("\n" * line + text, str(script), "exec"), names)
            if constants.keys() - names.keys():
                raise ValueError(f"{script.name} has no constants {sorted(constants.keys() - names.keys())}")
            names.update(constants)
            constants = {}
            page.append(f"```python\n{text}\n```")
            if printed.getvalue():
                page.append(f'```text title="prints"\n{printed.getvalue().rstrip()}\n```')
    finally:
        os.chdir(before)
    return "\n\n".join(page) + "\n"


def _cells(text: str) -> Iterator[tuple[int, bool, str]]:
    """Yield the line in front of each cell's text, counted from 1, whether it is prose, and the text."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("# %%")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        cell = "\n".join(lines[start + 1 : end])
        blank = len(cell) - len(cell.lstrip("\n"))
        yield start + 1 + blank, lines[start] == _MARKDOWN, cell.strip()
