"""The tables of docs/everyday.md, from results/everyday."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from docs.markdown import markdown, source, with_made
from segaware.experiments.tasks.segmentation.tables import table_cells
from segaware.recipes.files import load_table

RESULTS = Path(__file__).parent.parent / "results"
MEASURES: dict[str, Callable[[dict[str, Any]], float]] = {
    "within 1 px": lambda row: row["trimap_miou"][0],
    "within 5 px": lambda row: row["trimap_miou"][2],
    "boundary IoU": lambda row: row["boundary_iou"],
}


def load_everyday() -> dict[str, list[dict[str, Any]]]:
    """Return the tables of everyday photographs by their names, each in the order of its data sets."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for name in ("everyday/predictions", "everyday/sharpening"):
        paths = [RESULTS / name / f"{data}.json" for data in load_table(name).data]
        measured = [json.loads(path.read_text()) for path in paths if path.is_file()]
        tables |= {name: measured} if measured else {}
    return tables


def everyday_page(text: str) -> str:
    """Return the text of docs/everyday.md with tables as they were measured, between the two comments."""
    made = []
    for name, tables in load_everyday().items():
        made += [f"## {tables[0]['title']}", load_table(tables[0]["table"]).about]
        for measure, read in MEASURES.items():
            headers = [measure, *(row["title"] for row in tables[0]["rows"])]
            made.append(
                markdown([headers, *([table["data"], *_best_bold(map(read, table["rows"]))] for table in tables)])
            )
        for table in tables:
            headers, rows = table_cells(table, half_widths=(1, 3, 5, 10))
            if name == "everyday/sharpening":  # whose times were taken on different days
                headers, *rows = (row[: headers.index("boundary") + 1] for row in (headers, *rows))
            made += [
                f"### {table['data']}, {table['title'].lower()}",
                table["about"].removeprefix(load_table(table["table"]).about).strip()
                + f" Scored on {table['images']}.",
                markdown([headers, *rows]),
                source(table["measured"]),
            ]
    return with_made(text, made)


def _best_bold(values: Iterable[float]) -> list[str]:
    """Return figures in percent, the best in bold."""
    cells = [f"{100 * value:.1f}" for value in values]
    best = max(cells, key=float)
    return [f"**{cell}**" if cell == best else cell for cell in cells]
