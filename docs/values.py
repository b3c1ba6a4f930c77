"""The tables of docs/refine.md, from results/bench/flow_values.json."""

import json
from pathlib import Path
from typing import Any

from docs.markdown import markdown, source, with_made

RESULTS = Path(__file__).parent.parent / "results/bench/flow_values.json"


def values_page(text: str) -> str:
    """Return the text of docs/refine.md with errors of flow as they were measured, between the two comments."""
    if not RESULTS.is_file():
        return text
    values = json.loads(RESULTS.read_text())
    within = ["all pixels", *(f"within {distance} px" for distance in values["distances"])]
    made = []
    for name in dict.fromkeys(row["set"] for row in values["rows"]):
        found = [row for row in values["rows"] if row["set"] == name]
        rows = [
            [row["flow"] if row["method"] == "nothing" else "", row["method"], *_cells(row, found)] for row in found
        ]
        made += [f"{name}, {found[0]['pairs']} pairs:", markdown([["flow", "method", *within], *rows])]
    return with_made(text, [*made, source(values["measured"])])


def _cells(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Return the errors, the best of the same flow in bold, with the interval of the change if there are many pairs."""
    cells = []
    for column, error in enumerate(row["errors"]):
        best = min(other["errors"][column] for other in rows if other["flow"] == row["flow"])
        text, change = f"{error:.3f}", row["changes"][column]
        shown = row["pairs"] > 10 and row["method"] != "nothing"
        interval = f" [{change['low']:+.3f}, {change['high']:+.3f}]" if shown else ""
        cells.append((f"**{text}**" if error == best else text) + interval)
    return cells
