"""What all generated pages are made of."""

from typing import Any


def markdown(rows: list[list[str]]) -> str:
    """Return a table, its first row the header."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def source(measured: dict[str, Any]) -> str:
    """Return where figures come from."""
    return f"`{measured['command']}`, commit {measured['commit']}, torch {measured['torch']}, {measured['machine']}."


def with_made(text: str, made: list[str]) -> str:
    """Return a text with paragraphs between its two comments, in place of what was there."""
    before, rest = text.split("<!-- Made", 1)
    comment, rest = rest.split("-->", 1)
    _, after = rest.split("<!-- End", 1)
    return f"{before}<!-- Made{comment}-->\n" + "\n\n".join(made) + f"\n\n<!-- End{after}"
