"""Write docs/results.md and its figures from results/*.json and the remarks in results/*.md.

Run as `make docs`. A test compares the page with the files, so that it cannot say anything else.
"""

import json
from pathlib import Path
from typing import Any

from segaware.cli.tables import table_cells
from segaware.viz import trimap_curve

ROOT = Path(__file__).parent.parent
SHOWN_HALF_WIDTHS = (1, 3, 10)


def main() -> None:
    """Write the page and the figures."""
    for table in load_tables():
        curves = {row["title"]: row["trimap_miou"] for row in table["rows"]}
        trimap_curve(curves, table["half_widths"], ROOT / "docs/figures" / f"{table['table']}_trimap.png")
    (ROOT / "docs/results.md").write_text(page())


def load_tables() -> list[dict[str, Any]]:
    """Return the tables in results/, in the order of their names."""
    return [json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))]


def page() -> str:
    """Return the page."""
    parts = [
        "# Results",
        "Made by `make docs` from the files in [results/](../results), which `segaware table` and `segaware demo` "
        "write. Figures are mean IoU in percent over the whole set: in all pixels, and within some pixels of a border "
        "of the truth. In brackets: the difference to the control, with its 95 % interval by paired bootstrap over "
        "images. The control starts from the same weights as the rows below it and trains the same extra steps.",
    ]
    for table in load_tables():
        parts += _section(table)
    return "\n\n".join(parts) + "\n"


def _section(table: dict[str, Any]) -> list[str]:
    name, measured = table["table"], table["measured"]
    remarks = ROOT / "results" / f"{name}.md"
    budget = [["method", "seed", "steps", "minutes", "parameters", "hardness"]] + [
        [
            row["title"],
            str(row["seed"]),
            str(row["steps"]),
            "-" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}",
            f"{row['parameters']:,}",
            ", ".join(f"{key.removesuffix('.hardness')} {value:.2f}" for key, value in row["hardness"].items()) or "-",
        ]
        for row in table["rows"]
    ]
    headers, rows = table_cells(table, SHOWN_HALF_WIDTHS)
    return [
        f"## {table['title']}",
        f"{table['about']} Scored on {table['images']} images.",
        _markdown([headers, *rows]),
        *([remarks.read_text().strip()] if remarks.is_file() else []),
        f"![Mean IoU near borders](figures/{name}_trimap.png)",
        "What each row had, and the hardness it learned:",
        _markdown(budget),
        f"`{measured['command']}`, commit {measured['commit']}, torch {measured['torch']}, {measured['machine']}.",
    ]


def _markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


if __name__ == "__main__":
    main()
