"""The command `segaware demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import Overwrite, errors
from segaware.cli.show import console, show
from segaware.experiments.table import run_table
from segaware.experiments.tasks.segmentation.tables import table_cells
from segaware.experiments.workspace import Workspace
from segaware.outputs import check_outputs, wrote_table
from segaware.provenance import write_json
from segaware.showcase.demo import write_page


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("demo"), overwrite: Overwrite = False
) -> None:
    """Train a plain and a segmentation-aware network on procedural scenes, and compare them (a few minutes)."""
    with errors():
        results = out / "results.json"
        outputs = [results, out / "index.html", out / "predictions.png"]
        check_outputs(outputs, overwrite=overwrite or wrote_table(results, "demo"))
        out.mkdir(parents=True, exist_ok=True)
        workspace = Workspace(out / "runs")
        table = run_table("demo", workspace, costs=False)
        write_json(results, table)
        headers, rows = table_cells(table, boundary=False)
        write_page(out / "index.html", table, headers, rows, workspace)
        show(table["title"], *table_cells(table, intervals=False, boundary=False))
        console.print(f"Pictures: {out / 'index.html'}")
