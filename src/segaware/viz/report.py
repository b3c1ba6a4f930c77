"""A self-contained HTML page of text, tables and pictures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from segaware.atomic import write_atomically
from segaware.data.images import PNG_SIGNATURE
from segaware.viz.colors import require_picture
from segaware.viz.page import read_part, render_page

Kind: TypeAlias = Literal["png", "jpeg"]

SMALL = 160  # pixels; narrower pictures are shown this wide, with hard pixel edges

_STYLE = f"""
body {{ max-width: 62rem; padding-bottom: 4rem; }}
h1 {{ margin: 0.5rem 0; }}
h2 {{ font-size: 1.25rem; margin: 2.5rem 0 0.75rem; padding-bottom: 0.25rem; border-bottom: 1px solid var(--line); }}
.introduction {{ color: var(--dim); max-width: 70ch; }}
.scroll {{ overflow-x: auto; margin: 1.25rem 0; }}
tbody tr:nth-child(even) {{ background: var(--panel); }}
figure {{ margin: 1.25rem 0; }}
figure .stack {{ width: fit-content; max-width: 100%; }}
figure input[type="range"] {{ display: block; width: 100%; }}
img {{ display: block; max-width: 100%; height: auto; background: #fff; }}
img.small {{ width: {SMALL}px; image-rendering: pixelated; }}
.gallery {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-end; margin: 1.25rem 0; }}
.gallery figure {{ margin: 0; width: min-content; max-width: 100%; }}
.gallery img {{ max-width: min(26rem, calc(100vw - 2rem)); }}
"""

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
        self._title = title
        self._pairs = 0  # of pictures, which sliders compare
        self._parts = [f"<h1>{escape(title)}</h1>", f'<p class="introduction">{escape(introduction)}</p>']

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

    def before_after(self, before: np.ndarray, after: np.ndarray, caption: str) -> None:
        """Add two pictures of one size, one over the other: a slider moves the line on whose left the first is seen.

        Args:
            before: uint8 array of shape (H, W, 3).
            after: likewise.
            caption: what they show.

        Raises:
            ValueError: a picture has another type or shape, or they differ in size.
        """
        self._parts.append(self._pair(before, after, caption, "png"))

    def choices(self, pictures: Sequence[tuple[str, Any, np.ndarray, np.ndarray]], file_name: str) -> None:
        """Add photographs in rows, each with a box to uncheck, and a button that saves what is not checked as JSON.

        They are compressed, as JPEG. A page has one such part.

        Args:
            pictures: of each, a caption; the value that the saved list has of it, a number or text; and what
                `before_after` takes.
            file_name: of the saved file, without characters that HTML would have to escape.

        Raises:
            ValueError: a picture has another type or shape.
        """
        figures = []
        for caption, value, before, after in pictures:
            box = f'<input type="checkbox" checked data-value="{escape(json.dumps(value))}">'
            choice = f'<label class="check">{box} accept</label>'
            figures.append(self._pair(before, after, caption, "jpeg", choice))
        self._parts.append(_SAVE.replace("NAME", file_name))
        self._parts.append('<div class="gallery">\n' + "\n".join(figures) + "\n</div>")

    def _pair(self, before: np.ndarray, after: np.ndarray, caption: str, kind: Kind, choice: str = "") -> str:
        if before.shape != after.shape:
            raise ValueError(f"pictures {caption!r} must have one size, got {before.shape} and {after.shape}")
        self._pairs += 1
        # The second picture has its room on the page, and the first one lies over it.
        images = _image(after, f"{caption}: after", kind) + _image(before, f"{caption}: before", kind, "left")
        slider = (
            f'<input type="range" class="wipe" data-stack="pair{self._pairs}" min="0" max="100" value="50" '
            f'aria-label="Before on the left, after on the right: {escape(caption)}">'
        )
        text = f"{choice}{escape(caption)}"
        return (
            f'<figure><div class="stack" id="pair{self._pairs}">{images}</div>{slider}'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def write(self, path: Path) -> None:
        """Write the page; an older file stays as it is if that fails.

        Args:
            path: file to write, in an existing folder.

        Raises:
            FileNotFoundError: the folder does not exist.
        """
        script = f"\n<script>\n{read_part('wipe.js')}</script>" if self._pairs else ""
        write_atomically(path, render_page(self._title, "\n".join(self._parts) + script, _STYLE))


def _figure(picture: np.ndarray | bytes, caption: str, kind: Kind = "png") -> str:
    return f"<figure>{_image(picture, caption, kind)}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(picture: np.ndarray | bytes, caption: str, kind: Kind, name: str = "") -> str:
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
    names = f"{name} small" if width < SMALL else name
    mark = f' class="{names.strip()}"' if names else ""
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return f'<img{mark} alt="{escape(caption)}" src="{source}">'


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
