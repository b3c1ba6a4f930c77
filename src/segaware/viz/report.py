"""A self-contained HTML page of text, tables and pictures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from segaware.atomic import write_atomically
from segaware.data.images import PNG_SIGNATURE
from segaware.viz.colors import require_picture

SMALL = 160  # pixels; narrower pictures are shown this wide, with hard pixel edges

STYLE = """
:root { color-scheme: light; }
body { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; background: #fff; color: #1f2328;
       font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.75rem; padding-bottom: 0.25rem; border-bottom: 1px solid #d8dee4; }
.introduction { color: #57606a; }
.scroll { overflow-x: auto; margin: 1.25rem 0; }
table { border-collapse: collapse; overflow-wrap: normal; }
caption { text-align: left; padding-bottom: 0.4rem; }
th, td { padding: 0.35rem 0.8rem; text-align: left; border-bottom: 1px solid #d8dee4; }
th { border-bottom: 2px solid #afb8c1; }
tbody tr:nth-child(even) { background: #f6f8fa; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.25rem 0; }
caption, figcaption { font-size: 0.9rem; color: #57606a; }
img { display: block; max-width: 100%; height: auto; }
img.small { width: SMALLpx; image-rendering: pixelated; }
.gallery { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-end; margin: 1.25rem 0; }
.gallery figure { margin: 0; width: min-content; max-width: 100%; }
.gallery img { max-width: min(26rem, calc(100vw - 2rem)); }
label { display: block; color: #1f2328; }
a { color: inherit; }
button { font: inherit; padding: 0.3rem 0.8rem; }
""".replace("SMALL", str(SMALL))

# Saves a list of the values of all boxes that are not checked.
_SAVE = """<p><button type="button" id="save">Save NAME</button></p>
<script>
document.getElementById("save").onclick = () => {
  const boxes = document.querySelectorAll("input[data-value]:not(:checked)");
  const values = JSON.stringify(Array.from(boxes, box => JSON.parse(box.dataset.value)));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([values], {type: "application/json"}));
  link.download = "NAME";
  link.click();
};
</script>"""


class Report:
    """One HTML page that needs no other file: style and pictures are inside. All text is escaped.

    Args:
        title: heading of the page.
        introduction: first paragraph.

    Example:
        >>> report = Report("Sharpening", "Filters on 40 photographs.")
        >>> report.table(["method", "mIoU"], [["bilinear", 90.8], ["filter", 92.4]], "All pixels, percent.")
        >>> report.write(Path("report.html"))  # doctest: +SKIP
    """

    def __init__(self, title: str, introduction: str) -> None:
        self._title = escape(title)
        self._parts = [f"<h1>{self._title}</h1>", f'<p class="introduction">{escape(introduction)}</p>']

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str | float]], caption: str) -> None:
        """Add a table; columns that hold only numbers (or blanks and hyphens) are aligned right.

        Args:
            headers: name of each column.
            rows: cells of each row; a float is printed with up to six significant digits, text as it is.
            caption: what the table shows.

        Raises:
            ValueError: a row has not as many cells as there are headers.
        """
        for row in rows:
            if len(row) != len(headers):
                raise ValueError(f"rows must have {len(headers)} cells like headers, got {list(row)}")
        lines = [[f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
        numeric = [all(map(_is_number_or_blank, column)) for column in zip(*lines, strict=True)] or [False] * len(
            headers
        )
        head = _table_row("th", headers, numeric)
        body = "\n".join(_table_row("td", line, numeric) for line in lines)
        self._parts.append(
            f'<div class="scroll"><table><caption>{escape(caption)}</caption>\n'
            f"<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )

    def picture(self, picture: np.ndarray | bytes, caption: str) -> None:
        """Add a picture with a caption below it, shrunk to the width of the screen if it is wider.

        Args:
            picture: uint8 array of shape (H, W, 3), or the content of a PNG file.
            caption: what the picture shows.

        Raises:
            ValueError: `picture` is neither.
        """
        self._parts.append(_figure(picture, caption))

    def gallery(self, pictures: Sequence[tuple[str, np.ndarray]]) -> None:
        """Add pictures in rows as wide as the screen allows.

        Args:
            pictures: pairs of a caption and a uint8 array of shape (H, W, 3).

        Raises:
            ValueError: a picture has another type or shape.
        """
        figures = "\n".join(_figure(picture, caption) for caption, picture in pictures)
        self._parts.append(f'<div class="gallery">\n{figures}\n</div>')

    def links(self, pictures: Sequence[tuple[str, str, np.ndarray]]) -> None:
        """Add photographs in rows, of which each leads to another page. They are compressed, as JPEG.

        Args:
            pictures: of each, a caption; a relative address, whose special characters are escaped as `%XX`; and a
                uint8 array of shape (H, W, 3).

        Raises:
            ValueError: a picture has another type or shape.
        """
        figures = [
            f'<a href="{escape(address)}">{_figure(picture, caption, "jpeg")}</a>'
            for caption, address, picture in pictures
        ]
        self._parts.append('<div class="gallery">\n' + "\n".join(figures) + "\n</div>")

    def choices(self, pictures: Sequence[tuple[str, Any, np.ndarray]], file_name: str) -> None:
        """Add photographs in rows, each with a box to uncheck, and a button that saves what is not checked as JSON.

        They are compressed, as JPEG. A page has one such part.

        Args:
            pictures: of each, a caption; the value that the saved list has of it, a number or text; and a uint8 array
                of shape (H, W, 3).
            file_name: of the saved file, without characters that HTML would have to escape.

        Raises:
            ValueError: a picture has another type or shape.
        """
        figures = []
        for caption, value, picture in pictures:
            box = f'<input type="checkbox" checked data-value="{escape(json.dumps(value))}">'
            figures.append(_figure(picture, caption, "jpeg", f"<label>{box} accept</label>"))
        self._parts.append(_SAVE.replace("NAME", file_name))
        self._parts.append('<div class="gallery">\n' + "\n".join(figures) + "\n</div>")

    def write(self, path: Path) -> None:
        """Write the page; an older file stays as it is if that fails.

        Args:
            path: file to write, in an existing folder.

        Raises:
            FileNotFoundError: the folder does not exist.
        """
        head = (
            '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{self._title}</title>\n<style>{STYLE}</style>"
        )
        body = "\n".join(self._parts)
        page = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
        write_atomically(path, page.encode(errors="replace"))


def _figure(picture: np.ndarray | bytes, caption: str, kind: Literal["png", "jpeg"] = "png", choice: str = "") -> str:
    if isinstance(picture, bytes):
        if not picture.startswith(PNG_SIGNATURE):
            raise ValueError(f"picture {caption!r} must be the content of a PNG file, it begins with {picture[:8]!r}")
        content = picture
        width = int.from_bytes(content[16:20], "big")  # a PNG file begins with its signature and the width and height
    else:
        require_picture(f"picture {caption!r}", picture)
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format=kind, quality=90)
        content, width = buffer.getvalue(), picture.shape[1]
    small = ' class="small"' if width < SMALL else ""
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    text = escape(caption)
    return f'<figure><img{small} alt="{text}" src="{source}"><figcaption>{choice}{text}</figcaption></figure>'


def _table_row(tag: str, cells: Sequence[str], numeric: Sequence[bool]) -> str:
    classes = [' class="number"' if is_number else "" for is_number in numeric]
    inner = "".join(f"<{tag}{name}>{escape(cell)}</{tag}>" for cell, name in zip(cells, classes, strict=True))
    return f"<tr>{inner}</tr>"


def _is_number_or_blank(text: str) -> bool:
    if text.strip() in ("", "-"):
        return True
    try:
        float(text.strip().removesuffix("%"))
    except ValueError:
        return False
    return True
