"""The HTML of every page: one look, no other file, nothing from a network."""

from __future__ import annotations

from html import escape
from pathlib import Path

_FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; img-src data: blob:; script-src 'unsafe-inline'; worker-src blob:; style-src 'unsafe-inline'"
)


def render_page(title: str, body: str, style: str = "", policy: str = POLICY) -> bytes:
    """Return a page.

    Args:
        title: What a window's bar shows; it is escaped.
        body: Its HTML, in which all text is escaped.
        style: CSS beside that of all pages.
        policy: What it may load and run, as a Content-Security-Policy.
    """
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{read_part('page.css')}{style}</style>"
    )
    page = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
    return page.encode(errors="replace")  # names of files need not be text


def read_part(name: str) -> str:
    """Return a file of style or script that pages share."""
    return (_FOLDER / name).read_text("utf-8")
